"""A masked-language model that is small enough to run in milliseconds."""

from pathlib import Path

import pytest
import torch
from support.wards import opened, write
from transformers import AutoModelForMaskedLM, BertConfig

from clinlm.models.initializers.scratch import Scratch


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random BERT with a masked-language head, whose vocabulary is that of the notes."""
    folder = tmp_path_factory.mktemp("language_model")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    task = opened(write(folder / "notes.csv"), folder, training_documents=14, min_groups=1)
    model = Scratch({"model_type": "bert", "max_position_embeddings": 40, **shape}, vocabulary=200).begin(task, None)
    config = BertConfig(vocab_size=len(model.tokenizer), max_position_embeddings=40, **shape)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    return folder / "model"
