"""Tokens and logits that are mapped from disk: the same as in memory, and written part by part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pipelines import composed, finished, weights

from clinlm.models.model import Model
from clinlm.store import arrays
from clinlm.store.arrays import disk_array, load_arrays, save_arrays
from clinlm.tasks import base
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.teachers import cached_logits


def is_mapped(array: Any) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def test_arrays_are_written_end_to_end_and_mapped(tmp_path: Path) -> None:
    """What is changed in memory does not change the file; the arrays of one file have several sizes of numbers."""
    path = tmp_path / "kind" / "name.safetensors"
    parts = [np.arange(3, dtype=np.int32), np.zeros(0, np.int32), np.arange(4, dtype=np.int32)]
    whole = {"tokens": parts, "place": np.arange(6).reshape(2, 3), "flag": np.array([True]), "none": np.zeros((0, 2))}
    save_arrays(path, whole, {"pad": "1"})
    found, facts = load_arrays(path)
    assert facts == {"pad": "1"} and is_mapped(found["tokens"]) and is_mapped(found["place"])
    np.testing.assert_array_equal(found["tokens"], [0, 1, 2, 0, 1, 2, 3])
    for name in ("place", "flag", "none"):
        np.testing.assert_array_equal(found[name], whole[name])
    found["tokens"][0] = 9
    assert load_arrays(path)[0]["tokens"][0] == 0


def test_a_large_array_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_IN_MEMORY", 100)
    small, large = disk_array(tmp_path, (25,), np.float32), disk_array(tmp_path, (26, 2), np.float32)
    large[3] = 1
    assert not is_mapped(small) and is_mapped(large) and large.sum() == 2 and not [*tmp_path.iterdir()]


def test_a_killed_tokenisation_goes_on(task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were written are read; the end is as at once. No other test has rows of 29 tokens."""
    plain = task.encoded_texts(task.examples.frame["text"].to_list(), tiny_model.tokenizer, 29)
    encode, calls = base.Task.encoded_texts, list[int]()

    def killed(self: base.Task, texts: Any, *rest: Any) -> Any:
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, *rest)

    monkeypatch.setattr(base, "_PART", 16)
    monkeypatch.setattr(base.Task, "encoded_texts", killed)
    with pytest.raises(KeyboardInterrupt):
        task.encode(tiny_model.tokenizer, 29)
    found = task.encode(tiny_model.tokenizer, 29)
    assert calls == [16, 16, 16, 16, 12], "of 60 documents 32 were there"
    assert is_mapped(found.tokens) and task.folder is not None
    assert not [*(task.folder / "tokens").glob("*.*.safetensors")]
    for name in ("tokens", "row_start", "document_start"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


@pytest.mark.integration
@pytest.mark.usefixtures("quick")
def test_weights_are_those_of_arrays_in_memory(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuning and distillation, with tokens and logits on disk and in memory: the same bytes."""
    monkeypatch.setattr(arrays, "_IN_MEMORY", 0)
    monkeypatch.setattr(base, "_PART", 16)
    monkeypatch.setattr(cached_logits, "_SLICE", 7)
    mapped = weights(finished(composed(notes_csv, tmp_path / "mapped", "pipeline=b")))

    def read(path: Path) -> Any:
        found, facts = load_arrays(path)
        return {name: np.array(values) for name, values in found.items()}, facts

    monkeypatch.setattr(arrays, "_IN_MEMORY", 2**40)
    monkeypatch.setattr(base, "_PART", 2**40)
    monkeypatch.setattr(cached_logits, "_SLICE", 2**40)
    for module in ("clinlm.tasks.base", "clinlm.models.artifact", "clinlm.training.teachers.tfidf"):
        monkeypatch.setattr(f"{module}.load_arrays", read)
    assert mapped == weights(finished(composed(notes_csv, tmp_path / "memory", "pipeline=b"))) and len(mapped) > 1
