"""TF-IDF with INT8 weights: size against quality, what its bytes are, and its latency from text.

python benchmarks/tfidf_int8.py [--notes PATH] [--seeds 0 1 2 3 4] [--sizes 1000 2000 4000 8000] [--passes 5]

On MTSamples, for every seed of the split: the row chosen by validation alone, and, to see what the choice gave up,
every size (its C chosen by validation). Columns of quality are differences from TF-IDF with all terms, in points:
AUPRC (mean of micro and macro) on validation, by which the size is chosen, and micro F1, macro F1 and macro AUROC on
test, which choose nothing. Latency is that of one note at a time, from text to probabilities, on one thread: the median
over notes of the fastest of some passes, both models in turn.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from hydra import compose, initialize_config_dir

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.metrics import int8_baseline
from clinlm.metrics.baseline import FILES, TfidfBaseline, validation_ranking
from clinlm.metrics.hardware import Hardware
from clinlm.metrics.int8_baseline import INT8_FILES, Int8Baseline
from clinlm.metrics.term_model import linked_logits
from clinlm.pipeline.execution import open_task
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import SERVING
from clinlm.training.teachers.tfidf import drawn_passages

NOTES = Path(__file__).parents[1] / "../shared/data/mtsamples.csv.gz"
HEADER = ("split", "terms", "C", "val AUPRC", "micro F1", "macro F1", "AUROC", "bytes", "terms file", "weights file")
SHOWN = ("micro_f1", "macro_f1", "macro_auroc")
Model = TfidfBaseline | Int8Baseline


def quality(task: Task, model: Model) -> list[float]:
    """Return AUPRC on validation, and the metrics of `SHOWN` on test, with thresholds of validation; in points."""
    values = {
        split: task.probabilities(
            linked_logits(model, task.passages(task.examples.members(split)), task.kind).astype(np.float64)
        )
        for split in ("validation", "test")
    }
    found = task.evaluate("test", values["test"], task.fit_thresholds(values["validation"])).quality()
    held = task.examples.targets[task.examples.units("validation")]
    return [100 * validation_ranking(values["validation"], held), *(100 * found[name] for name in SHOWN)]


def sizes(task: Task, model: Model, names: Sequence[str]) -> dict[str, int]:
    """Return the bytes of every file that serving needs."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        logits = linked_logits(model, task.passages(task.examples.members("validation")), task.kind)
        task.inference_config(logits, task.max_tokens).save(Path(folder))
        return {name: (Path(folder) / name).stat().st_size for name in (*names, SERVING)}


def milliseconds(models: Sequence[Model], texts: Sequence[str], passes: int) -> list[float]:
    """Return the median over texts of the fastest pass of every model."""
    fastest = np.full((len(models), len(texts)), np.inf)
    for _ in range(passes):
        for place, text in enumerate(texts):
            for number, model in enumerate(models):
                began = time.perf_counter()
                model.probabilities([text])
                fastest[number, place] = min(fastest[number, place], 1000 * (time.perf_counter() - began))
    return [statistics.median(each.tolist()) for each in fastest]


def one_split(task: Task, seed: int, tried: Sequence[int], passes: int) -> list[float]:
    """Print the lines of one split; return the differences of the chosen row."""
    data = (*drawn_passages(task, "train"), *drawn_passages(task, "validation"))
    whole = TfidfBaseline.fit(*data)
    before, parts = quality(task, whole), sizes(task, whole, FILES)
    cells = [f"{seed}", f"all {len(whole.vocabulary)}", f"{whole.strength:g}", *(f"{value:.2f}" for value in before)]
    print_row([*cells, f"{sum(parts.values()):,}", f"{parts[FILES[0]]:,}", f"{parts[FILES[1]]:,}"])
    chosen = Int8Baseline.fit(whole, *data)
    models = {"chosen": chosen}
    for size in tried:
        with mock.patch.multiple(int8_baseline, SIZES=(size,), TOLERANCE=1.0):
            models[""] = Int8Baseline.fit(whole, *data)
        describe(task, seed, "", models[""], before)
    change = describe(task, seed, "chosen ", chosen, before)
    texts = task.texts("test")
    slow, fast = milliseconds([whole, chosen], texts, passes)
    print(f"      from text, ms a note: all terms {slow:.3f}, chosen {fast:.3f} ({slow / fast:.1f} times)", flush=True)
    return change


def describe(task: Task, seed: int, what: str, model: Int8Baseline, before: Sequence[float]) -> list[float]:
    """Print the line of a model, and return its differences from the whole."""
    change = [own - other for own, other in zip(quality(task, model), before, strict=True)]
    parts = sizes(task, model, INT8_FILES)
    cells = [f"{seed}", f"{what}{len(model.vocabulary)}", f"{model.strength:g}", *(f"{value:+.2f}" for value in change)]
    print_row([*cells, f"{sum(parts.values()):,}", f"{parts[INT8_FILES[0]]:,}", f"{parts[INT8_FILES[1]]:,}"])
    return change


def print_row(cells: Sequence[str]) -> None:
    """Print a row of the table."""
    print("| " + " | ".join(f"{cell:>{width}}" for cell, width in zip(cells, map(len, HEADER), strict=True)) + " |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=Path, default=NOTES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(5)])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--passes", type=int, default=5)
    given = parser.parse_args()
    if not given.notes.is_file():
        print(f"skipped: the notes of MTSamples are not at {given.notes}")
        return
    register_resolvers()
    print(f"{Hardware.of_this_process()}, load {os.getloadavg()[0]:.1f}")
    print_row(HEADER)
    changes = []
    with tempfile.TemporaryDirectory() as store, initialize_config_dir(str(CONF), version_base="1.3"):
        for seed in given.seeds:
            settings = ["task=mtsamples", f"task.root={given.notes.resolve()}", f"task.seed={seed}", f"store={store}"]
            task, _ = open_task(compose("config", overrides=settings))
            changes.append(one_split(task, seed, given.sizes, given.passes))
    means = ", ".join(f"{name} {value:+.2f}" for name, value in zip(SHOWN, np.mean(changes, axis=0)[1:], strict=True))
    print(f"chosen by validation, mean change on test over {len(changes)} splits, points: {means}")


if __name__ == "__main__":
    main()
