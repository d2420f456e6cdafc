"""Coverage of the sets of possible labels over many resplits, and what compression changes in them.

python benchmarks/conformal.py --root ../shared/data [--resplits 20]       # TF-IDF on MTSamples, fitted anew every time
python benchmarks/conformal.py --run outputs/runs/TIME [--resplits 20]     # first teacher and last stage of a run

TF-IDF: every resplit draws training, calibration (validation) and test anew, by group, as a task with another seed.
"8-bit weights" rounds its weights in steps of a 127th of a label's largest. The strength of the regressions is chosen
on the first split. A run keeps its training documents and its models: its validation and test documents together are
drawn anew into a calibration and a test part of their sizes, groups whole and at random. Decision thresholds of a run
stay those of its models; sets are calibrated and measured on disjoint documents. For labels of documents.

Expected and "within 95 %" are those of ranks: of m calibration documents that may miss l, the number of n test
documents that are covered is beta-binomial(n, m + 1 - l, l), whatever the model. Resplits share documents, so the mean
of 20 is not as sure as that of 20 independent ones.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import betabinom

from clinlm.corpora.mtsamples import MTSamples
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.classification import fit_thresholds
from clinlm.metrics.conformal import COVERAGES, Kind, fit_conformal
from clinlm.metrics.scored_answers import ScoredAnswers
from clinlm.metrics.uncertainty import level_values
from clinlm.models.artifact import Artifact
from clinlm.pipeline import execution
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.cells import grid
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head

COVERED = {"sets": "true labels in sets", "present": "notes with a label", "absent": "notes without it"}
SIZES = {
    "set_size": "labels a set",
    "undecided": "undecided %",
    "answered": "fully answered %",
    "answered_risk": "their risk %",
}


@dataclass(frozen=True)
class Part:
    """Documents of one part of a resplit, with the probabilities of one model."""

    probabilities: np.ndarray
    targets: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Resplit:
    """One model on one resplit."""

    calibration: Part
    test: Part
    thresholds: np.ndarray | None
    labels: tuple[str, ...]
    kind: Kind

    def numbers(self) -> dict[float, dict[str, float]]:
        """Return what is measured on test, what is expected, and how often it is within 95 %, by coverage."""
        own, test = self.calibration, self.test
        fitted = fit_conformal(own.probabilities, own.targets, np.arange(len(own.groups)), own.groups, self.kind)
        answers = ScoredAnswers.of(
            *(test.probabilities, test.targets, self.thresholds, np.arange(len(test.groups))),
            *(test.groups, self.labels, self.kind, fitted),
        )
        ones, found = np.ones((1, len(test.groups))), {}
        for coverage, sets in answers.sets.items():
            numbers = {name: float(value[0]) for name, value in level_values(answers, coverage, ones).items()}
            calibrated, asked = np.array([len(own.groups)]), np.array([len(test.groups)])
            numbers |= compared("sets", np.array([numbers["sets"]]), calibrated, asked, coverage)
            for name, held, seen, truth in (
                ("present", sets.present, own.targets, test.targets),
                ("absent", sets.absent, ~own.targets, ~test.targets),
            ):
                shares = answers.class_coverage(truth, held).values(ones)[0]
                numbers |= compared(name, shares, seen.sum(axis=0), truth.sum(axis=0), coverage)
            found[coverage] = numbers
        return found


def compared(
    name: str, shares: np.ndarray, calibrated: np.ndarray, asked: np.ndarray, coverage: float
) -> dict[str, float]:
    """Return the expected mean of some coverages, and how many of them are within their 95 %; see the top.

    Args:
        calibrated, asked: documents that calibrated each, and that it is measured on.
    """
    shares, calibrated, asked = (own[asked > 0] for own in (shares, calibrated, asked))
    missed = np.floor((1 - coverage) * (calibrated + 1) + 1e-9)
    certain = missed == 0  # too few documents to exclude any: everything is covered
    a, b = calibrated + 1 - missed, np.where(certain, 1, missed)
    low, high = (np.where(certain, asked, betabinom.ppf(end, asked, a, b)) for end in (0.025, 0.975))
    hits = shares * asked
    inside = (hits >= low - 1e-6) & (hits <= high + 1e-6)
    return {
        f"{name} expected": float((1 - missed / (calibrated + 1)).mean()),
        f"{name} inside": float(inside.sum()),
        f"{name} below": float((hits < low - 1e-6).sum()),
        f"{name} cells": float(len(shares)),
    }


def refitted(root: Path, resplits: int) -> Iterator[dict[str, Resplit]]:
    """Yield TF-IDF before and after rounding on every resplit of MTSamples."""
    strength = None
    for seed in range(resplits):
        task = MultiLabel(MTSamples, str(root), Head(), seed=seed)
        with tempfile.TemporaryDirectory() as place:
            task.open(Path(place), f"resplit-{seed}")
            examples = task.examples
            texts = {split: task.texts(split) for split in ("train", "validation", "test")}
        truth = {split: examples.targets[examples.members(split)] for split in texts}
        if strength is None:
            drawn = (texts["train"], truth["train"], texts["validation"], truth["validation"])
            strength = TfidfBaseline.fit(*drawn).strength
        model = TfidfBaseline.fit_at(texts["train"], truth["train"], strength)
        groups = {split: examples.frame["group"].gather(examples.members(split)).to_numpy() for split in texts}
        found = {}
        for name in ("TF-IDF", "TF-IDF, 8-bit weights"):
            if found:
                step = np.maximum(np.abs(model.weights).max(axis=1, keepdims=True), 1e-12) / 127
                model.weights[:] = np.round(model.weights / step) * step
            calibration, test = (
                Part(model.probabilities(texts[split]), truth[split], groups[split]) for split in ("validation", "test")
            )
            thresholds = fit_thresholds(calibration.targets, calibration.probabilities, "global")
            found[name] = Resplit(calibration, test, thresholds, examples.labels, "multilabel")
        yield found


def redrawn(folder: Path, resplits: int) -> Iterator[dict[str, Resplit]]:
    """Yield the first teacher and the last stage of a run on every resplit of its held-out documents."""
    run = RunRecord.read(folder)
    task, _ = execution.open_task_from(dict(run.task.settings), Path(run.store))
    if task.by_word:
        raise SystemExit("this benchmark is about labels of documents, got a task of entities")
    held = np.concatenate([task.examples.members(split) for split in ("validation", "test")])
    count = len(task.examples.members("validation"))
    groups, truth = task.examples.frame["group"].gather(held).to_numpy(), task.examples.targets[held]
    teacher = next(stage for stage in run.stages if stage.role == "teacher")
    models = {}
    for stage in {own.name: own for own in (teacher, run.stages[-1])}.values():
        artifact = Artifact(Path(stage.folder))
        config = InferenceConfig.load(artifact.folder)
        values = [config.probabilities(artifact.predictions(split)) for split in ("validation", "test")]
        models[stage.name] = (np.concatenate(values), config.thresholds)
    names, member = np.unique(groups, return_inverse=True)
    for seed in range(resplits):
        order = np.random.default_rng(seed).permutation(len(names))
        sizes = np.bincount(member)[order]
        chosen = np.isin(member, order[: int(np.searchsorted(np.cumsum(sizes), count)) + 1])
        yield {
            name: Resplit(
                *(Part(values[part], truth[part], groups[part]) for part in (chosen, ~chosen)),
                *(thresholds, task.examples.labels, task.kind),
            )
            for name, (values, thresholds) in models.items()
        }


Numbers = list[dict[float, dict[str, float]]]
"""Coverage -> name -> number, of every resplit."""
Found = dict[str, Numbers]


def series(found: Numbers, coverage: float, name: str) -> np.ndarray:
    """Return one number of every resplit."""
    return np.array([own[coverage][name] for own in found])


def coverage_table(found: Found) -> str:
    """Return measured coverage against nominal, a line for every model, coverage and kind."""
    header = ("model", "covered", "nominal %", "expected %", "mean %", "s.d.", "lowest %", "within 95 %", "below")
    rows = []
    for model, each in found.items():
        for name, what in COVERED.items():
            for coverage in COVERAGES:
                ends = ("", " expected", " inside", " below", " cells")
                own, expected, inside, below, cells = (series(each, coverage, name + end) for end in ends)
                shares = (expected.mean(), own.mean(), own.std(ddof=1), own.min())
                counts = [f"{inside.sum():.0f} of {cells.sum():.0f}", f"{below.sum():.0f}"]
                rows.append([model, what, f"{100 * coverage:.0f}", *(f"{100 * one:.2f}" for one in shares), *counts])
    return grid(header, rows)


def size_table(found: Found) -> str:
    """Return size of sets and abstention of every model, and how the last differs from the first, in pairs."""
    first, last = [*found][0], [*found][-1]
    rows = []
    for coverage in COVERAGES:
        for model, each in found.items():
            rows.append([model, f"{100 * coverage:.0f}", *_cells(each, None, coverage)])
        if len(found) > 1:
            rows.append(["difference", f"{100 * coverage:.0f}", *_cells(found[last], found[first], coverage)])
    return grid(("model", "nominal %", *SIZES.values()), rows)


def _cells(each: Numbers, reference: Numbers | None, coverage: float) -> Iterator[str]:
    for name in SIZES:
        own = series(each, coverage, name)
        own = own if reference is None else own - series(reference, coverage, name)
        own = own[~np.isnan(own)] * (1 if name == "set_size" else 100)  # their risk: where none is answered, none
        sign = "" if reference is None else "+"
        yield f"{own.mean():{sign}.2f} ± {own.std(ddof=1):.2f}" if len(own) > 1 else "–"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1] / "../shared/data")
    parser.add_argument("--run", type=Path, help="folder of a finished run; without it, TF-IDF")
    parser.add_argument("--resplits", type=int, default=20)
    asked = parser.parse_args()
    found: Found = {}
    drawn = refitted(asked.root, asked.resplits) if asked.run is None else redrawn(asked.run, asked.resplits)
    sizes = []
    for each in drawn:
        for model, resplit in each.items():
            found.setdefault(model, []).append(resplit.numbers())
        sizes.append([len(part.groups) for part in (resplit.calibration, resplit.test)])
    calibration, test = np.mean(sizes, axis=0)
    print(f"{len(sizes)} resplits; calibration {calibration:.0f} and test {test:.0f} documents\n")
    print(coverage_table(found))
    print("Expected, within 95 % and below: of resplits; by class of resplits x labels. Of 100, 95 are to be within.\n")
    print(size_table(found))
    print("Mean ± s.d. over resplits; the difference is paired. Points, but for the labels of a set.")


if __name__ == "__main__":
    main()
