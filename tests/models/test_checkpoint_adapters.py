"""Laws of adapter folders of peft as a start: the base is found, the merge answers as peft, misfits are refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)  # fmt: skip
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification

from clinlm.config.errors import ModelError
from clinlm.models.initializers.pretrained import Pretrained
from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel

NAMES = ["query", "value"]
KINDS = {
    "lora": LoraConfig(r=2, target_modules=NAMES),
    "lora with its head": LoraConfig(r=2, target_modules=NAMES, task_type="SEQ_CLS"),
    "of all layers": LoraConfig(r=2, target_modules="all-linear", bias="all", task_type="SEQ_CLS"),
    "rslora": LoraConfig(r=2, target_modules=NAMES, use_rslora=True),
    "dora": LoraConfig(r=2, target_modules=NAMES, use_dora=True),
    "pissa": LoraConfig(r=2, target_modules=NAMES, init_lora_weights="pissa", task_type="SEQ_CLS"),
    "adalora": AdaLoraConfig(init_r=3, target_r=2, target_modules=NAMES, total_step=9),
    "vera": VeraConfig(r=4, target_modules=NAMES),
    "ia3": IA3Config(target_modules=["key", "output.dense"], feedforward_modules=["output.dense"]),
    "loha": LoHaConfig(r=2, target_modules=NAMES),
}


@pytest.fixture
def base(tiny_model: Model, tmp_path: Path) -> Path:
    place = tmp_path / "base"
    tiny_model.network.body.save_pretrained(place)  # type: ignore[operator]
    tiny_model.tokenizer.save_pretrained(place)
    return place


def adapted(base: Path, folder: Path, config: Any, called: str | None = None) -> Any:
    """Train an adapter, as it were, and save it as peft does; returns its encoder."""
    of_task = config.task_type == "SEQ_CLS"
    # Without a seed, what ran before decides how far these random weights spread the last bits of the merge.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = (AutoModelForSequenceClassification if of_task else AutoModel).from_pretrained(base)
        tuned = get_peft_model(whole, copy.deepcopy(config))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (p for p in tuned.parameters() if p.requires_grad):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    tuned.save_pretrained(folder)
    if called is not None:
        strange(base_model_name_or_path=called)(base, folder)
    return (whole.bert if of_task else whole).eval()


def answer(body: Any) -> Tensor:
    rows = torch.arange(2, 20).view(2, 9)
    with torch.no_grad():
        hidden: Tensor = body(input_ids=rows, attention_mask=torch.ones_like(rows)).last_hidden_state
    return hidden


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_peft_and_needs_no_peft(task: MultiLabel, base: Path, tmp_path: Path, kind: str) -> None:
    expected = answer(adapted(base, tmp_path / "adapter", KINDS[kind]))
    plain = Pretrained(str(base)).begin(task, None)
    model = Pretrained(str(tmp_path / "adapter")).begin(task, None)
    assert torch.allclose(answer(model.network.body), expected, atol=1e-5)
    assert not torch.allclose(expected, answer(plain.network.body), atol=1e-2)
    assert {*model.network.state_dict()} == {*plain.network.state_dict()} and model.spec == plain.spec
    assert [type(module) for module in model.network.modules()] == [type(module) for module in plain.network.modules()]
    assert model.tokenizer.get_vocab() == plain.tokenizer.get_vocab()
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_a_relative_base_is_one_from_the_adapter_and_counts_in_the_key(
    task: MultiLabel, base: Path, tmp_path: Path
) -> None:
    adapted(base, tmp_path / "adapter", KINDS["lora"], "../base")
    start = Pretrained(str(tmp_path / "adapter"))
    assert start.begin(task, None).max_tokens == 64
    before = start.fingerprint()
    (base / "vocabulary.txt").write_text("other")
    assert start.fingerprint() != before


def other_base(base: Path, folder: Path) -> None:
    config = AutoModel.from_pretrained(base).config
    config.hidden_size, config.intermediate_size = 16, 8
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(base)


def strange(**content: Any) -> Any:
    def change(base: Path, folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | content))

    return change


@pytest.mark.parametrize(
    ("config", "harm", "why"),
    [
        (KINDS["lora"], other_base, "must fit its base .*base, it does not .size mismatch for .*query"),
        (KINDS["lora"], strange(base_model_name_or_path=None), "must name the base of the adapter"),
        (KINDS["lora"], strange(base_model_name_or_path="/no/where"), "got /no/where, which does not exist; copy it"),
        (KINDS["lora"], strange(base_model_name_or_path="lab/none"), "the base of the adapter .* 'lab/none' must be a"),
        (KINDS["lora"], strange(target_modules=["query", "key", "value"]), "weights that its .* describes, got 8 miss"),
        (KINDS["lora"], strange(init_lora_weights="pissa_niter_4"), "must say what its base was, got init_lora_weig"),
        (KINDS["lora"], lambda base, folder: (folder / "adapter_model.safetensors").unlink(), "got no adapter_model"),
        (KINDS["lora"], lambda base, folder: (folder / "adapter_config.json").write_text("{"), "must be JSON"),
        (PromptTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION"), None, "got PROMPT_TUNING, which"),
        (PrefixTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION"), None, "got PREFIX_TUNING, which"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    task: MultiLabel, base: Path, tmp_path: Path, config: Any, harm: Any, why: str
) -> None:
    adapted(base, tmp_path / "adapter", config)
    if harm is not None:
        harm(base, tmp_path / "adapter")
    with pytest.raises(ModelError, match=why):
        Pretrained(str(tmp_path / "adapter")).begin(task, None)


def test_numbers_that_are_none_are_refused(task: MultiLabel, base: Path, tmp_path: Path) -> None:
    adapted(base, tmp_path / "adapter", KINDS["lora"])
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="must hold finite weights, got NaN"):
        Pretrained(str(tmp_path / "adapter")).begin(task, None)
