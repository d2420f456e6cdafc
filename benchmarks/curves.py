"""How the cost of answering grows with documents, tokens, labels and layers: ours, and transformers' pipeline.

python benchmarks/curves.py [--documents 48] [--rounds 3] [--axes documents tokens labels layers]

Both answer with a network of MiniLM's shape (6 layers, 20 labels, 64 tokens of every note, random weights: speed only),
from a file of notes to a file of answers: `clinlm predict` on ONNX Runtime, and the pipeline on torch
(benchmarks/peers/hf_pipeline.py), both in float32 on one thread. Along an axis one number changes. Every way answers at
all sizes in one process, one note and then all: told is what all cost more. What comes first is not counted. Rounds
alternate. Notes are those of MTSamples, or generated ones without it.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from paired import Curve, Row, core_s, machine, minilm, notes, tell
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from clinlm.engines.base import find_engine
from clinlm.engines.open_model import FACTS
from clinlm.models.model import Model, ModelSpec
from clinlm.store.content import write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import Head
from clinlm.text.tokens import save_tokenizer

PEER = Path(__file__).parent / "peers" / "hf_pipeline.py"
AXES: Mapping[str, tuple[int, ...]] = {
    "documents": (16, 32, 64, 128),
    "tokens": (64, 128, 256, 512),
    "labels": (20, 200, 2000),
    "layers": (1, 2, 4, 6),
}
SHAPE = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512}


@dataclass(frozen=True)
class Job:
    """What is answered, and by what."""

    documents: int
    tokens: int = 64
    labels: int = 20
    layers: int = 6


class Bench:
    """Writes networks and notes into `root`, each once, and returns the commands that answer a job."""

    def __init__(self, root: Path) -> None:
        self.root, self.tokenizer = root, AutoTokenizer.from_pretrained(minilm())
        self.source, self.texts, _ = notes()
        self.numbers = count()  # of files of answers: an existing one is continued

    def commands(self, job: Job) -> dict[str, list[str]]:
        """Return our command and the peer's."""
        texts, output = self.root / f"{job.documents}.jsonl", str(self.root / f"{next(self.numbers)}-answers.jsonl")
        if not texts.is_file():
            lines = (json.dumps({"text": text}) + "\n" for text in islice(cycle(self.texts), job.documents))
            texts.write_text("".join(lines), encoding="utf-8")
        own = [f"artifact={self.deployment(job)}", f"input={texts}", f"output={output}", "threads=1"]
        return {
            "ours": ["-m", "clinlm", "predict", *own],
            "theirs": [str(PEER), str(self.checkpoint(job)), str(texts), output, str(job.tokens)],
        }

    def checkpoint(self, job: Job) -> Path:
        """Return the folder of a network for transformers."""
        folder = self.root / f"transformers-{job.labels}-{job.layers}"
        if not folder.is_dir():
            config = BertConfig(**SHAPE, num_hidden_layers=job.layers, num_labels=job.labels)
            config.problem_type = "multi_label_classification"
            BertForSequenceClassification(config).save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        return folder

    def deployment(self, job: Job) -> Path:
        """Return the folder of a network of ours on ONNX Runtime."""
        folder = self.root / f"ours-{job.labels}-{job.layers}-{job.tokens}"
        if not folder.is_dir():
            folder.mkdir()
            shape = {"model_type": "bert", "vocab_size": len(self.tokenizer), "num_hidden_layers": job.layers, **SHAPE}
            torch.manual_seed(0)
            spec = ModelSpec(shape, job.labels, "mean", 0.0)
            find_engine("onnxruntime").export(Model(spec, spec.build().eval(), self.tokenizer), folder)
            save_tokenizer(self.tokenizer, folder)
            labels = tuple(f"label {number}" for number in range(job.labels))
            InferenceConfig("multilabel", labels, np.full(job.labels, 0.5), job.tokens, Head()).save(folder)
            write_json(folder / FACTS, {"engine": "onnxruntime"})
        return folder


def curve(bench: Bench, axis: str, documents: int, rounds: int) -> list[Row | Curve]:
    """Return the ratio at every size of an axis, and the exponents of both ways."""
    jobs = [replace(Job(documents), **{axis: size}) for size in AXES[axis]]
    found: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        pairs = [bench.commands(own) for job in jobs for own in (replace(job, documents=1), job)]
        first = bench.commands(jobs[0])
        for who, each in found.items():
            costs = core_s([first[who], *(own[who] for own in pairs)])[1:]
            each.append([many - one for one, many in zip(costs[::2], costs[1::2], strict=True)])
    ours, theirs = ([*zip(*found[who], strict=True)] for who in ("ours", "theirs"))
    peer = "transformers pipeline"
    rows: list[Row | Curve] = [
        Row.of(f"answering by {axis}: {size:,}", peer, "s", *costs)
        for size, *costs in zip(AXES[axis], ours, theirs, strict=True)
    ]
    medians = [tuple(map(median, each)) for each in (ours, theirs)]
    return [*rows, Curve("answering", axis, peer, AXES[axis], *medians)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--axes", nargs="+", choices=[*AXES], default=[*AXES])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        print(f"{machine()}; {bench.source}")
        tell([one for axis in given.axes for one in curve(bench, axis, given.documents, given.rounds)])
    print(machine())


if __name__ == "__main__":
    main()
