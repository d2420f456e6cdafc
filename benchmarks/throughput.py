"""Documents per core-second of `clinlm predict` and of the peers' own scripts (benchmarks/peers), from file to file.

python benchmarks/throughput.py [FOLDER ...] [--documents 2000] [--rounds 3] [--pipeline-documents 48]

Each FOLDER is an artifact, a deployment or a TF-IDF baseline; without any, a convolution for engine=folded (random
weights) and a TF-IDF baseline fitted on the notes are made. Every one is answered by `clinlm predict threads=1`, a
TF-IDF baseline also by scikit-learn, a deployment of engine=onnxruntime also by a plain session. The reference is the
pipeline of transformers on a network of MiniLM's shape (random weights: speed only). Notes are those of MTSamples
(generated ones without it), repeated. Core-seconds are those of a process and its children. A process answers one note,
which is its first answer and counts for itself, with python's start and all imports; the same note again; and all:
what these cost more than one, over their number, is the cost of a document.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
from paired import Row, core_s, machine, minilm, notes, tell
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from clinlm.engines.folded import Folded
from clinlm.engines.open_model import FACTS
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.models.model import Model, ModelSpec
from clinlm.store.content import write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import Head
from clinlm.text.tokens import save_tokenizer

HERE = Path(__file__).parent
REFERENCE = "transformers pipeline, MiniLM"
OURS = "clinlm predict "
SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
Way = Callable[[Path, Path], Sequence[str]]
"""From a file of notes and an output to the command that answers."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--pipeline-documents", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    source, texts, labels = notes()
    print(f"{machine()}\n{given.documents:,} documents, {source}, at most 256 tokens")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        ways = {REFERENCE: peer("hf_pipeline", reference(root))}
        for folder in given.folders or made(root, texts, labels):
            ways |= ways_of(folder.resolve())
        numbers = count()
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                many = given.pipeline_documents if name == REFERENCE else given.documents
                found[name].append(answered(way, texts, many, root / str(next(numbers))))
    tell([row for name in found if name.startswith(OURS) for row in compared(name, found)])
    print(machine())


def compared(name: str, found: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[Row]:
    """Yield what a way of ours costs next to the reference, and next to the peer that answers with the same folder."""
    kind = name.removeprefix(OURS)
    first, each = zip(*found[name], strict=True)
    for other, costs in found.items():
        if other == REFERENCE or (other.endswith(f" {kind}") and other != name):
            begun, theirs = zip(*costs, strict=True)
            yield Row.of(f"answering, {kind}", other, "s/1,000 notes", *([1000 * s for s in x] for x in (each, theirs)))
            yield Row.of(f"first answer, {kind}", other, "s", first, begun)


def reference(root: Path) -> Path:
    """Write a network of the shape of MiniLM-L6 with its tokenizer and 20 labels."""
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    config = BertConfig(**SHAPE, num_labels=20, problem_type="multi_label_classification")
    BertForSequenceClassification(config).save_pretrained(root / "minilm")
    tokenizer.save_pretrained(root / "minilm")
    return root / "minilm"


def made(root: Path, texts: Sequence[str], labels: Sequence[Sequence[str]]) -> list[Path]:
    """Write a convolution of the headline's shape with random weights, and TF-IDF fitted on notes; return both."""
    names = [name for name, _ in Counter(label for own in labels for label in own).most_common(20)]
    folded, tfidf = root / "folded", root / "tfidf"
    for folder in (folded, tfidf):
        folder.mkdir()
        InferenceConfig("multilabel", tuple(names), np.full(len(names), 0.5), 256, Head()).save(folder)
    tokenizer = AutoTokenizer.from_pretrained(root / "minilm")
    shape = {"vocab_size": len(tokenizer), "embedding_size": 96, "widths": [1, 3], "filters": [96, 96], "opening": 100}
    spec = ModelSpec({"model_type": "clinlm_text_cnn", **shape}, outputs=len(names), pooling="max_mean")
    Folded().export(Model(spec, spec.build().eval(), tokenizer), folded)
    save_tokenizer(tokenizer, folded)
    write_json(folded / FACTS, {"engine": "folded"})
    targets = np.array([[name in own for name in names] for own in labels])
    TfidfBaseline.fit_at(texts, targets, 1.0).save(tfidf)
    return [folded, tfidf]


def ways_of(folder: Path) -> dict[str, Way]:
    """Return what answers with a folder, by name."""
    ways: dict[str, Way] = {
        f"{OURS}{folder.name}": lambda notes, output: (
            *("-m", "clinlm", "predict", f"artifact={folder}", f"input={notes}", f"output={output}", "threads=1"),
        )
    }
    if (folder / "vocabulary.json").is_file():
        ways[f"scikit-learn {folder.name}"] = peer("sklearn_tfidf", folder)
    if (folder / "model.onnx").is_file():
        ways[f"plain ONNX Runtime {folder.name}"] = peer("onnxruntime_plain", folder)
    return ways


def peer(script: str, folder: Path) -> Way:
    """Return the command of a script of benchmarks/peers."""
    return lambda notes, output: (str(HERE / "peers" / f"{script}.py"), str(folder), str(notes), str(output))


def answered(way: Way, texts: Sequence[str], documents: int, place: Path) -> tuple[float, float]:
    """Return the core-seconds of the first answer of a process, and those of every document after it."""
    commands = []
    for number, size in enumerate((1, 1, documents)):
        folder = place / str(number)
        folder.mkdir(parents=True)
        written = folder / "notes.jsonl"
        written.write_text("".join(json.dumps({"text": text}) + "\n" for text in islice(cycle(texts), size)))
        commands.append([*way(written, folder / "answers.jsonl")])
    first, one, many = core_s(commands)
    with (folder / "answers.jsonl").open(encoding="utf-8") as file:
        assert sum(1 for _ in file) == documents
    return first, (many - one) / (documents - 1)


if __name__ == "__main__":
    main()
