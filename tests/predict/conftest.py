"""Two tiny artifacts that know the same labels, notes, files of them, and answers taken one note at a time."""

import copy
import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from conftest import SIGNS
from support.note_files import Notes, write_notes
from support.pipelines import kept

from clinlm.models import artifact
from clinlm.models.model import Model
from clinlm.predict.model_answerer import predict_file
from clinlm.predict.settings import PredictSettings
from clinlm.store.content import RECORD, seal
from clinlm.tasks.batches import pool_rows
from clinlm.tasks.entities import Entities
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import LongNotes, Windows
from clinlm.text.tokens import RowCutter

LABELS = tuple(sorted(SIGNS))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A run tells torch to use one thread in each of its own; other tests get back what they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def save_artifact(_tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what saves a tiny model, random in its own way, as an artifact with serving.json."""

    def save(seed: int, labels: Sequence[str] = LABELS, long_notes: LongNotes | None = None) -> Path:
        model = copy.deepcopy(_tiny_model)
        torch.manual_seed(0)
        torch.nn.init.normal_(model.network.head.weight, std=0.5)
        torch.manual_seed(seed)
        model.network.head.bias.data += 0.2 * torch.randn(len(labels))
        folder = tmp_path_factory.mktemp("artifact") / f"student-{seed}"
        kept(model, folder)
        (folder / RECORD).unlink()
        ways = long_notes or Windows(overlap=0.25, most=3, pooling="mean")
        InferenceConfig("multilabel", tuple(labels), np.array([0.3, 0.45, 0.5, 0.6]), 24, ways, 1.5).save(folder)
        seal(folder, {"key": folder.name, "stage": "student"})
        return folder

    return save


@pytest.fixture(scope="session")
def model_folder(save_artifact: Callable[..., Path]) -> Path:
    """Return the folder of an artifact that reads long notes in windows."""
    return save_artifact(1)


@pytest.fixture(scope="session")
def shadow_folder(save_artifact: Callable[..., Path]) -> Path:
    """Return the folder of another one for the same labels."""
    return save_artifact(2)


@pytest.fixture(scope="session")
def save_tagger(_tiny_tagger: Model, entities: Entities, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what saves a tiny tagger, random in its own way, as an artifact with serving.json."""

    def save(seed: int, most: int = 50) -> Path:
        model = copy.deepcopy(_tiny_tagger)
        torch.manual_seed(0)
        torch.nn.init.normal_(model.network.head.weight, std=0.5)
        torch.manual_seed(seed)
        model.network.head.bias.data = 0.2 * torch.randn(entities.outputs)
        folder = tmp_path_factory.mktemp("artifact") / f"tagger-{seed}"
        kept(model, folder)
        (folder / RECORD).unlink()
        InferenceConfig("entities", entities.examples.labels, None, 24, Windows(overlap=0.25, most=most), 1.5).save(
            folder
        )
        seal(folder, {"key": f"{folder.name}-{most}", "stage": "student"})
        return folder

    return save


@pytest.fixture(scope="session")
def tagger_folder(save_tagger: Callable[..., Path]) -> Path:
    """Return the folder of a tagger that reads long notes in windows."""
    return save_tagger(1)


@pytest.fixture(scope="session")
def shadow_tagger(save_tagger: Callable[..., Path]) -> Path:
    """Return the folder of another one for the same tags."""
    return save_tagger(2)


@pytest.fixture(scope="session")
def notes() -> Notes:
    """Return 70 notes: short, long, and odd."""
    rng = random.Random(3)
    words = [word for signs in SIGNS.values() for word in signs] + "the patient was seen , today .".split()
    odd = ["\U0001f600 fever", "nul\x00 cough", 'said "no cast", left', "two\nlines\r\nof toe", "x" * 100_000, "\ue000"]
    texts = odd + [" ".join(rng.choices(words, k=rng.choice([1, 5, 20, 120]))) for _ in range(64)]
    return [(f"n-{number}", text) for number, text in enumerate(texts)]


@pytest.fixture(scope="session", name="write_notes")
def write_notes_fixture() -> Callable[[Notes, Path], Path]:
    """Return `support.note_files.write_notes`."""
    return write_notes


@pytest.fixture
def run(model_folder: Path) -> Callable[..., Any]:
    """Return what runs the command in this process, with windows of 16 records unless told otherwise."""

    def predicted(input: Path, output: Path, **settings: Any) -> Any:
        told = {"artifact": model_folder, "window": 16, "batch_tokens": 128, "threads": 2} | settings
        arguments = {"input": input, "output": output, **told}
        return predict_file(PredictSettings.of([f"{key}={value}" for key, value in arguments.items()]))

    return predicted


@pytest.fixture(scope="session")
def one_by_one() -> Callable[[Path, Sequence[str]], np.ndarray]:
    """Return what answers texts in the plainest way: one note at a time, one row at a time, no padding."""

    def answer(folder: Path, texts: Sequence[str]) -> np.ndarray:
        model, serving = artifact.load(folder), InferenceConfig.load(folder)
        cut = RowCutter(model.tokenizer, serving.max_tokens, serving.long_notes)
        found = []
        with torch.inference_mode():
            for text in texts:
                (rows,) = cut([text]).documents
                each = [model.network(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long)) for row in rows]
                logits = pool_rows(serving.long_notes, torch.cat(each), torch.zeros(len(rows), dtype=torch.long), 1)
                found.append(serving.probabilities(logits.numpy())[0])
        return np.array(found)

    return answer


def read_answers(path: Path, labels: Sequence[str] = LABELS) -> list[dict[str, Any]]:
    """Read answers in any format as JSON Lines would be."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        item: dict[str, Any] = {"id": row["id"], "line": int(row["line"])}
        for prefix in [one for one in ("", "shadow_") if f"{one}labels" in row]:
            item[f"{prefix}labels"] = [one for one in row[f"{prefix}labels"].split(";") if one]
            item[f"{prefix}probabilities"] = {label: float(row[f"{prefix}p_{label}"]) for label in labels}
        found.append(item)
    return found


@pytest.fixture(scope="session")
def answers() -> Callable[[Path], list[dict[str, Any]]]:
    """Return what reads answers in any format as JSON Lines would be."""
    return read_answers


@pytest.fixture(scope="session")
def rejected() -> Callable[[Path], list[dict[str, Any]]]:
    """Return what reads the rejects beside an output."""

    def read(output: Path) -> list[dict[str, Any]]:
        return read_answers(output.with_name(f"{output.name}.rejects.jsonl"))

    return read
