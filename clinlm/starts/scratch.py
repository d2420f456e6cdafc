"""Random weights and a vocabulary learnt from the training texts: no download, no package."""

from collections.abc import Mapping
from typing import Any, final

import torch
from tokenizers import BertWordPieceTokenizer
from tokenizers.processors import BertProcessing
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from clinlm.model import Model, ModelSpec, PoolingName, without_pooler
from clinlm.starts.base import HeadBias, Start, plain, with_head
from clinlm.task import Task


@final
class Scratch(Start):
    """A randomly started encoder, with a WordPiece vocabulary trained on the task's training texts.

    Args:
        config: a transformers configuration with its `model_type`; the vocabulary size is filled in.
        vocabulary: most entries, special tokens included; at least 100.
        pooling, dropout, head_bias: see `clinlm.model.Pooling`, `ModelSpec` and `with_head`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        vocabulary: int = 8000,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        if vocabulary < 100:
            raise ValueError(f"a vocabulary holds at least 100 entries; got {vocabulary}")
        self.config, self.vocabulary = dict(config), vocabulary
        self.pooling, self.dropout, self.head_bias = pooling, dropout, head_bias

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Start.begin`."""
        trained = BertWordPieceTokenizer(lowercase=True)
        trained.train_from_iterator(
            task.texts("train"), vocab_size=self.vocabulary, min_frequency=2, show_progress=False
        )
        first, last = (("[CLS]", trained.token_to_id("[CLS]")), ("[SEP]", trained.token_to_id("[SEP]")))
        trained._tokenizer.post_processor = BertProcessing(last, first)  # training a vocabulary sets none
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=trained._tokenizer,
            unk_token="[UNK]",
            pad_token="[PAD]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
        )
        config = AutoConfig.for_model(**self.config | {"vocab_size": len(tokenizer)})
        body = without_pooler(AutoModel.from_config(config, dtype=torch.float32))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return Model(ModelSpec(plain(config), task.outputs, self.pooling, self.dropout), network, tokenizer)

    def fingerprint(self) -> str:
        """See `Start.fingerprint`: everything follows from the settings, the task and the seed."""
        return "scratch"
