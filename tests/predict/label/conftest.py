"""Notes, a small ontology of one file, and what labels the notes with it."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clinlm.predict.label import label_file
from clinlm.predict.settings import LabelSettings

TERMS = ("ague", "psoriasis", "night sweats")


@pytest.fixture(scope="session")
def ontology(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the arguments that choose an ontology of three terms."""
    folder = tmp_path_factory.mktemp("ontology")
    (folder / "terms.csv").write_text("Common name;Synonyms\n" + "".join(f"{term};\n" for term in TERMS))
    others = ["~labeler.sources.diseases", "~labeler.sources.symptoms"]
    return ["labeler=ontology", f"labeler.root={folder}", "labeler.sources.medications.file=terms.csv", *others]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Return 60 notes, some of them twice, some odd."""
    rng = random.Random(1)
    words = "the patient reports no".split()
    odd = ["\U0001f600 ague", "psoriasis,\npsoriasis\r\nand ague", "x" * 3000 + " ague", "nothing"]
    drawn = [" ".join(rng.choices([*words, *TERMS], k=rng.choice([1, 6, 40]))) for _ in range(46)]
    return [*odd, *drawn, *rng.sample(drawn, 10)]


@pytest.fixture(scope="session")
def rough(texts: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the notes as JSON Lines, with what is none between them."""
    rng, lines = random.Random(1), []
    for number, text in enumerate(texts):
        lines += [rng.choice(["{", '{"id": "x"}', "[]", "\xff"])] * rng.choice([0, 0, 1, 3])
        lines.append(json.dumps({"id": f"n-{number}", "text": text}))
    path = tmp_path_factory.mktemp("rough") / "notes.jsonl"
    path.write_text("\n".join(lines), encoding="latin-1")
    return path


@pytest.fixture
def run(tmp_path: Path, ontology: list[str]) -> Callable[..., Any]:
    """Return what runs the command in this process, with windows of 16 records unless told otherwise."""

    def labelled(output: Path, *arguments: str, labeler: Sequence[str] = tuple(ontology), **settings: Any) -> Any:
        told = {"output": output, "window": 16, "store": tmp_path / "store"} | settings
        return label_file(
            LabelSettings.of([*labeler, *arguments, *(f"{name}={value}" for name, value in told.items())])
        )

    return labelled
