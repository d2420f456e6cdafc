"""Laws of checkpoint folders as people have them: loaded to the bit where that is certain, else refused."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
)

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models import artifact
from clinlm.models.checkpoint_tokenizer import lowers
from clinlm.models.initializers.pretrained import Pretrained
from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel

State = Mapping[str, Tensor]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "The", "the", "MS", "pain", "Pain", "##s", "."]


@pytest.fixture
def folder(tiny_model: Model, tmp_path: Path) -> Path:
    place = tmp_path / "checkpoint"
    tiny_model.network.body.save_pretrained(place)  # type: ignore[operator]
    tiny_model.tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def state(tiny_model: Model) -> State:
    return {name: tensor.clone() for name, tensor in tiny_model.network.body.state_dict().items()}


def write(folder: Path, state: Any, name: str = "model.safetensors") -> None:
    """Write weights in place of those of the checkpoint."""
    (folder / "model.safetensors").unlink()
    if name.endswith(".safetensors"):
        save_file({name: tensor.clone() for name, tensor in state.items()}, folder / name, {"format": "pt"})
    else:
        torch.save(state, folder / name)


def prefixed(state: State, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def first_names(state: State) -> dict[str, Tensor]:
    old = ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")
    return {name.replace(*old[0]).replace(*old[1]): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("around", "name"),
    [
        (dict, "model.safetensors"),
        (lambda state: prefixed(state, "bert."), "model.safetensors"),
        (lambda state: prefixed(state, "model.encoder."), "model.safetensors"),
        (lambda state: prefixed(state, "module.model.") | {"classifier.weight": torch.ones(2)}, "pytorch_model.bin"),
        (lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3}, "pytorch_model.bin"),
        (lambda state: {"state_dict": dict(state)}, "last.ckpt"),
        (first_names, "pytorch_model.bin"),
        (lambda state: prefixed(first_names(state), "net.bert."), "weights.pt"),
    ],
)
def test_weights_are_loaded_to_the_bit_whatever_is_around_them(
    task: MultiLabel, folder: Path, state: State, around: Callable[[State], object], name: str
) -> None:
    write(folder, around(state), name)
    loaded = Pretrained(str(folder)).begin(task, None).network.body.state_dict()
    assert list(loaded) == list(state) and all(loaded[name].equal(tensor) for name, tensor in state.items())


def changed(state: State, part: str, value: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: value(tensor) if part in name else tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("around", "why"),
    [
        (
            lambda state: {n: t for n, t in state.items() if "layer.1." not in n},
            "all 69 weights.*got 53.*layer.1.attent",
        ),
        (
            lambda state: {n: t for n, t in state.items() if "word_emb" not in n},
            "got 68 .*missing: embeddings.word_emb",
        ),
        (lambda state: prefixed({n: t for n, t in state.items() if "word_emb" not in n}, "x.b."), "begin with 'x.b.'"),
        (
            lambda state: prefixed(state, "a.") | prefixed(state, "b."),
            "of one encoder, got those of 2.*begin with a., b.",
        ),
        (lambda state: {"other.weight": torch.ones(2)}, "got none of them among 1 .other.weight"),
        (lambda state: changed(state, "word_emb", lambda t: t[:9].clone()), "word_embeddings.weight is 9 x 32, not "),
        (lambda state: prefixed(changed(state, "word_emb", lambda t: t[:9].clone()), "m.n."), "is 9 x 32, not "),
        (
            lambda state: changed(state, "layer.0.output.dense.weight", lambda t: t * torch.nan),
            "NaN.*0.output.dense.weight",
        ),
        (
            lambda state: changed(state, "layer.0.output.dense.bias", lambda t: t + torch.inf),
            "infinity.*output.dense.bias",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_encoder_are_refused(
    task: MultiLabel, folder: Path, state: State, around: Callable[[State], object], why: str
) -> None:
    write(folder, around(state))
    with pytest.raises(ModelError, match=f"{folder} must hold .*{why}"):
        Pretrained(str(folder)).begin(task, None)


def test_weights_without_a_place_are_named(task: MultiLabel, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    Pretrained(str(folder)).begin(task, None)
    assert "16 weights have no place in the encoder of its config.json (encoder.layer.3." in caplog.text


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def cut_bin(path: Path) -> None:
    torch.save({"x": torch.ones(9999)}, path.with_name("pytorch_model.bin"))
    path.unlink()
    cut(path.with_name("pytorch_model.bin"))


def object_inside(path: Path) -> None:
    torch.save({"state_dict": {}, "settings": Path()}, path.with_name("pytorch_model.bin"))
    path.unlink()


def other_framework(path: Path) -> None:
    path.rename(path.with_name("tf_model.h5"))


def without_family(path: Path) -> None:
    (path.parent / "config.json").write_text('{"hidden_size": 32, "vocab_size": 150}')


def odd_config(path: Path) -> None:
    config = json.loads((path.parent / "config.json").read_text())
    (path.parent / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))


def half_config(path: Path) -> None:
    (path.parent / "config.json").write_text('{"hidden_size": 3')


def adapter_only(path: Path) -> None:
    (path.parent / "config.json").rename(path.parent / "adapter_config.json")


def shard_absent(path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    path.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    path.rename(path.with_name("model-1.safetensors"))


def odd_index(path: Path) -> None:
    path.with_name("model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": ["secret"]}}))
    path.unlink()


def deep_config(path: Path) -> None:
    (path.parent / "config.json").write_text("[" * 100_000)


def list_config(path: Path) -> None:
    (path.parent / "config.json").write_text('["model_type"]')


def odd_family(path: Path) -> None:
    (path.parent / "config.json").write_text('{"model_type": ["bert"]}')


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (pointer, "model.safetensors must hold its content, got a pointer of git-lfs.*git lfs pull"),
        (Path.touch, ""),
        (lambda path: path.write_bytes(b""), "model.safetensors must hold its content, got an empty file"),
        (cut, "model.safetensors must hold all its weights, got a cut or damaged file of .* bytes"),
        (cut_bin, "pytorch_model.bin must hold all its weights, got a cut or damaged file"),
        (object_inside, "pytorch_model.bin must hold tensors only, got Python objects.*save_file"),
        (Path.unlink, "must hold weights, got none of model.safetensors, "),
        (other_framework, "must hold weights of PyTorch, got those of another framework only .tf_model.h5.; convert"),
        (shard_absent, "must hold every file that model.safetensors.index.json lists, got none of model-2.safetensors"),
        (without_family, "config.json must name the family of the model.*model_type"),
        (odd_config, "config.json must be a configuration that transformers can read; it says: .*hidden_size"),
        (half_config, "config.json must be JSON, got a damaged file"),
        (deep_config, "config.json must be JSON, got a damaged file"),
        (list_config, "config.json must be a JSON object, got a list"),
        (odd_family, "config.json must name the family of the model"),
        (odd_index, "model.safetensors.index.json must list files by their names in weight_map"),
        (adapter_only, "adapter_config.json must be the configuration of an adapter of peft, it has no peft_type"),
        (lambda path: pointer(path.parent / "tokenizer.json"), "tokenizer.json must hold its content, got a pointer"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    task: MultiLabel, folder: Path, harm: Callable[[Path], object], why: str
) -> None:
    harm(folder / "model.safetensors")
    if not why:
        Pretrained(str(folder)).begin(task, None)
        return
    with pytest.raises(ModelError, match=why):
        Pretrained(str(folder)).begin(task, None)


def test_a_configuration_of_the_first_berts_names_no_family(task: MultiLabel, cased: Path) -> None:
    content = json.loads((cased / "config.json").read_text())
    del content["model_type"]
    (cased / "config.json").write_text(json.dumps(content | {"type_vocab_size": 2}))
    model = Pretrained(str(cased), max_unknown=1.0).begin(task, None)
    assert model.spec.config["model_type"] == "bert" and type(model.tokenizer).__name__ == "BertTokenizer"


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_folder_without_a_tokenizer_is_refused(task: MultiLabel, tmp_path: Path, family: str) -> None:
    settings = {"vocab_size": 900, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    body = BertModel(BertConfig(**settings)) if family == "bert" else RobertaModel(RobertaConfig(**settings))
    body.save_pretrained(tmp_path)
    needed = "tokenizer.json or vocab.txt" if family == "bert" else "merges.txt or tokenizer.json or vocab.json"
    with pytest.raises(ModelError, match=f"for the 900 rows.* got 5 tokens and no tokenizer file.* read from {needed}"):
        Pretrained(str(tmp_path)).begin(task, None)


@pytest.mark.parametrize(("rows", "fits"), [(-1, False), (0, True), (8, True), (128, True), (129, False)])
def test_a_table_may_be_padded_and_not_short(
    task: MultiLabel, folder: Path, state: State, rows: int, fits: bool
) -> None:
    config = json.loads((folder / "config.json").read_text())
    size = len(state["embeddings.word_embeddings.weight"]) + rows
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": size}))
    write(folder, changed(state, "word_emb", lambda table: torch.cat([table, torch.zeros(200, 32)])[:size]))
    if fits:
        assert len(Pretrained(str(folder)).begin(task, None).tokenizer) == size - rows
    else:
        with pytest.raises(ModelError, match="an embedding for every token, got|must have a tokenizer for the"):
            Pretrained(str(folder)).begin(task, None)


def test_positions_after_padding_need_its_token(task: MultiLabel, folder: Path, tiny_model: Model) -> None:
    settings = {"vocab_size": len(tiny_model.tokenizer), "hidden_size": 8, "num_hidden_layers": 1}
    RobertaModel(RobertaConfig(**settings, num_attention_heads=2, pad_token_id=1)).save_pretrained(folder)
    with pytest.raises(ModelError, match="a padding token of id 1, from which roberta counts positions, got 0"):
        Pretrained(str(folder)).begin(task, None)


def test_texts_that_a_tokenizer_does_not_know_are_refused(
    task: MultiLabel, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Pretrained(str(folder)).begin(task, None)
    assert "0.00 % of the tokens of the training texts are unknown" in caplog.text
    backend = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = backend["model"]["vocab"]
    unread = {f"{number}{word}" if len(word) < 4 else word: number for word, number in vocabulary.items()}
    backend["model"]["vocab"] = unread
    (folder / "tokenizer.json").write_text(json.dumps(backend))
    with pytest.raises(ModelError, match=r"must know 80% of the tokens of the training texts, \d\d\.\d% are unknown"):
        Pretrained(str(folder)).begin(task, None)
    Pretrained(str(folder), max_unknown=1.0).begin(task, None)
    assert "WARNING" in caplog.text


@pytest.fixture
def cased(tmp_path: Path) -> Path:
    """Return a checkpoint with capitalised entries and nothing but vocab.txt, as Bio_ClinicalBERT is published."""
    place = tmp_path / "cased"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(WORDS))
    return place


def said(place: Path, *, config: bool | None = None, normalizer: bool | None = None) -> None:
    if normalizer is not None:
        backend = BertTokenizer(vocab=str(place / "vocab.txt"), do_lower_case=normalizer).backend_tokenizer
        (place / "tokenizer.json").write_text(backend.to_str())
    if config is not None:
        (place / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": config}))


@pytest.mark.parametrize(
    ("files", "lowercase", "lowered", "notice"),
    [
        ({}, None, False, "case is kept"),
        ({}, True, True, "3 capitalised entries of its vocabulary are unused"),
        ({}, False, False, ""),
        ({"config": True}, None, True, "3 capitalised entries of its vocabulary are unused"),
        ({"config": True}, False, False, ""),
        ({"config": False}, None, False, ""),
        ({"config": False, "normalizer": True}, None, False, ""),
        ({"normalizer": False}, None, False, ""),
        ({"normalizer": True}, None, True, "are unused"),
    ],
)
def test_case_is_kept_or_not_as_the_files_or_the_setting_say(
    task: MultiLabel,
    cased: Path,
    files: dict[str, bool],
    lowercase: bool | None,
    lowered: bool,
    notice: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    said(cased, **files)
    model = Pretrained(str(cased), lowercase=lowercase, max_unknown=1.0).begin(task, None)
    (tmp_path / "saved").mkdir()
    artifact.save(model, tmp_path / "saved")
    for tokenizer in (model.tokenizer, artifact.load(tmp_path / "saved").tokenizer):
        assert lowers(tokenizer) == lowered
        expected = ["the", "[UNK]", "pain", "##s"] if lowered else ["The", "MS", "Pain", "##s"]
        assert tokenizer.tokenize("The MS Pains") == expected
    cases = [record.message for record in caplog.records if "capital" in record.message]
    assert len(cases) == bool(notice) and all(notice in message for message in cases)


def test_a_class_that_cuts_words_otherwise_than_the_file_is_named(
    task: MultiLabel, cased: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said(cased, config=False, normalizer=False)
    for splitter, notice in ((None, False), (pre_tokenizers.Whitespace(), True)):
        backend = Tokenizer.from_file(str(cased / "tokenizer.json"))
        backend.pre_tokenizer = splitter or backend.pre_tokenizer
        backend.save(str(cased / "tokenizer.json"))
        Pretrained(str(cased), max_unknown=1.0).begin(task, None)
        assert ("a BertTokenizer makes other tokens than tokenizer.json describes" in caplog.text) == notice


def test_rows_without_their_first_token_are_named(
    task: MultiLabel, cased: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said(cased, normalizer=False)
    backend = Tokenizer.from_file(str(cased / "tokenizer.json"))
    backend.post_processor = None
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]").save_pretrained(cased)
    Pretrained(str(cased), max_unknown=1.0).begin(task, None)
    assert "the tokenizer begins no row with its [CLS]" in caplog.text


def test_an_uncased_vocabulary_needs_no_notice(task: MultiLabel, cased: Path, caplog: pytest.LogCaptureFixture) -> None:
    (cased / "vocab.txt").write_text("\n".join([*WORDS[:5], *map(str.lower, "Ab Cd Ef Gh Ij Kl Mn".split())]))
    assert lowers(Pretrained(str(cased), max_unknown=1.0).begin(task, None).tokenizer)
    assert "capital" not in caplog.text


def test_case_that_a_tokenizer_fixes_cannot_be_set(task: MultiLabel, tmp_path: Path) -> None:
    settings = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    RobertaModel(RobertaConfig(**settings)).save_pretrained(tmp_path)
    vocabulary = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcd"])}
    RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    Pretrained(str(tmp_path), lowercase=False, max_unknown=1.0).begin(task, None)
    with pytest.raises(ConfigError, match="lowercase must be null for RobertaTokenizer, got true"):
        Pretrained(str(tmp_path), lowercase=True).begin(task, None)
