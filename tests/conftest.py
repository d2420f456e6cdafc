"""What many tests need: a corpus of made-up notes, a task on it, and a network small enough to run in milliseconds."""

import copy
import csv
import gc
import hashlib
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from hypothesis import HealthCheck, settings
from support import shape_hook as shape_hook  # before anything of clinlm
from support import taggers

from clinlm.config.targets import allow_targets
from clinlm.corpora.table import Table
from clinlm.engines import onnx_graph
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.model import Model
from clinlm.tasks.entities import Entities
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.training.modules.base import predict

# A busy machine is no error: laws say what comes out, not when.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look through half a million objects again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


SIGNS = {
    "asthma": ("wheeze", "inhaler", "spirometry"),
    "flu": ("fever", "cough", "chills"),
    "fracture": ("cast", "fall", "splint"),
    "gout": ("toe", "urate", "colchicine"),
}
"""The labels, and the words that a note has if and only if the label holds."""
_FILLER = "the patient was seen today and feels well since the last visit ; plan discussed , will return soon .".split()
TINY = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """No test fetches anything, in this process or in one that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _support() -> None:
    """Settings of tests may name classes of `support`, as those of a user may with allow=[support.]."""
    allow_targets(["support."])


@pytest.fixture(scope="session")
def notes_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of 60 notes of 20 patients with the columns id, group, text, labels (parted by semicolons)."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "group", "text", "labels"])
        for number in range(60):
            labels = rng.sample(sorted(SIGNS), rng.choice([1, 1, 2]))
            words = [rng.choice(SIGNS[label]) for label in labels for _ in range(2)]
            words += rng.choices(_FILLER, k=rng.randint(2, 50))  # some notes are longer than a row, most are not
            rng.shuffle(words)
            writer.writerow([f"n{number}", f"p{number // 3}", " ".join(words), ";".join(labels)])
    return path


@pytest.fixture(scope="session")
def task(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> MultiLabel:
    """Return an opened task of 4 labels on `notes_csv`; bind it to a tokenizer before using its loaders."""
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    opened = MultiLabel(corpus, str(notes_csv), Head(), labels=4, max_tokens=32, shares=(0.6, 0.2, 0.2))
    opened.open(tmp_path_factory.mktemp("store"), "key")
    return opened


@pytest.fixture
def every_term(task: MultiLabel, monkeypatch: pytest.MonkeyPatch) -> MultiLabel:
    """Return `task`, of which vocabularies may hold what a single patient has."""
    monkeypatch.setitem(vars(task), "min_groups", 1)
    return task


@pytest.fixture(scope="session")
def entities(tmp_path_factory: pytest.TempPathFactory) -> Entities:
    """Return an opened task of two labels of entities on `taggers.notes`; bind it before using its loaders."""
    root = tmp_path_factory.mktemp("entities")
    return taggers.opened(taggers.written(root / "notes.jsonl"), root / "store")


@pytest.fixture(scope="session")
def _tiny_tagger(entities: Entities) -> Model:
    torch.manual_seed(0)
    return Scratch(TINY, vocabulary=150).begin(entities, None)


@pytest.fixture(scope="session")
def _tiny_model(task: MultiLabel) -> Model:
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(task), "min_groups", 1)  # of a vocabulary of 150, whatever is left for others
        return Scratch(TINY, vocabulary=150).begin(task, None)


@pytest.fixture
def tiny_model(_tiny_model: Model) -> Model:
    """Return a random BERT of 4 layers and 32 dimensions with the vocabulary of `task`; every test gets its own."""
    return copy.deepcopy(_tiny_model)


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Leave out the process of its own in which a stage's memory is measured: it loads torch, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clinlm.pipeline.stage.measure_peak_mib", lambda folder, tokens: 1.0)
        yield


_GRAPHS: dict[str, bytes] = {}


@pytest.fixture(scope="module")
def graphs() -> Iterator[None]:
    """Write the ONNX graph of a network once, whoever asks: engines begin from the same one, and it takes seconds."""

    def once(model: Model, path: Path) -> None:
        key = _content(model)
        if key not in _GRAPHS:
            write(model, path)
            _GRAPHS[key] = path.read_bytes()
        path.write_bytes(_GRAPHS[key])

    write = onnx_graph.export_onnx
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_graph, "export_onnx", once)
        yield


def _content(model: Model) -> str:
    """Return a digest of all that a graph is made of."""
    network = model.network
    told = hashlib.sha256(f"{network!r} {network.body.config!r} {model.spec} {model.max_tokens}".encode())
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        told.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.detach().numpy().tobytes())
    return told.hexdigest()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows, whenever a stage asks a model for logits, by the number of documents."""
    sizes: list[int] = []

    def counting(network: Any, loader: Any, *rest: Any) -> Any:
        index, logits = predict(network, loader, *rest)
        sizes.append(len(index))
        return index, logits

    for place in ("clinlm.pipeline.stage", "clinlm.training.modules.base"):
        monkeypatch.setattr(f"{place}.predict", counting)
    return sizes
