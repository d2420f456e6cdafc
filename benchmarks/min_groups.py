"""What TF-IDF with INT8 weights loses when terms of fewer than k groups (patients) are left out.

python benchmarks/min_groups.py task=table task.root=docs/notes.csv ... [--groups 1 5] [--seeds 0 1 2 3 4]

For every seed of the split and every k: terms, kilobytes, and micro F1 and macro F1 on test with thresholds of
validation, in points, those of k > 1 also as differences from the first k; and of the whole TF-IDF, which has all
terms and stays in the store. Then the mean difference over splits, and its standard error. Nothing is timed.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.int8_baseline import Int8Baseline
from clinlm.metrics.term_model import linked_logits
from clinlm.pipeline.execution import open_task
from clinlm.tasks.base import Task
from clinlm.text.group_floor import GroupFloor
from clinlm.training.teachers.tfidf import drawn_groups, drawn_passages


def scores(task: Task, model: TfidfBaseline | Int8Baseline) -> list[float]:
    """Return micro F1 and macro F1 on test, in points; of entities, the strict ones."""
    values = {
        split: task.probabilities(
            linked_logits(model, task.passages(task.examples.members(split)), task.kind).astype(np.float64)
        )
        for split in ("validation", "test")
    }
    found = task.evaluate("test", values["test"], task.fit_thresholds(values["validation"])).quality()
    return [100 * value for name, value in found.items() if name.endswith(("micro_f1", "macro_f1"))][:2]


def one_split(task: Task, seed: int, tried: Sequence[int]) -> list[list[float]]:
    """Print the lines of one split; return the scores of every k."""
    train, held = drawn_passages(task, "train"), drawn_passages(task, "validation")
    whole = TfidfBaseline.fit(*train, *held)
    shown = " ".join(f"{own:6.2f}" for own in scores(task, whole))
    print(f"split {seed}, whole: {len(whole.vocabulary):7,} terms; micro, macro F1: {shown}", flush=True)
    found: list[list[float]] = []
    for least in tried:
        small = Int8Baseline.fit(whole, *train, *held, GroupFloor.of(drawn_groups(task, "train"), least))
        with tempfile.TemporaryDirectory() as folder:
            small.save(Path(folder))
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
        found.append(scores(task, small))
        change = [own - first for own, first in zip(found[-1], found[0], strict=True)]
        shown = " ".join(f"{own:6.2f} ({by:+5.2f})" for own, by in zip(found[-1], change, strict=True))
        sizes = f"{len(small.vocabulary):6,} terms of {len(whole.vocabulary) - small.rare:7,}, {size / 1000:6.1f} kB"
        print(f"split {seed}, k = {least:2}: {sizes}; micro, macro F1: {shown}", flush=True)
    return found


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(5)])
    given, settings = parser.parse_known_args()
    register_resolvers()
    every = []
    with tempfile.TemporaryDirectory() as store, initialize_config_dir(str(CONF), version_base="1.3"):
        for seed in given.seeds:
            task, _ = open_task(compose("config", overrides=[*settings, f"task.seed={seed}", f"store={store}"]))
            every.append(one_split(task, seed, given.groups))
    scored = np.array(every)
    for place, least in enumerate(given.groups[1:], 1):
        change = scored[:, place] - scored[:, 0]
        error = change.std(axis=0, ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.full(2, np.nan)
        shown = ", ".join(f"{by:+.2f} ± {own:.2f}" for by, own in zip(change.mean(axis=0), error, strict=True))
        print(f"k = {least} against {given.groups[0]}, mean of {len(change)} splits ± standard error, points: {shown}")


if __name__ == "__main__":
    main()
