"""What thousands of labels cost: quality, thresholds, intervals and TF-IDF on 4,000 documents.

[DOCUMENTS=50000] python benchmarks/labels.py [TF-IDF LABELS] [LABELS ...]

Quality is compared with scikit-learn's metrics (benchmarks/peers), up to 2,000 labels. The table is drawn: label k has
about 4,000 / k^0.9 positives, scores are drawn with an AUROC of about 0.92. TF-IDF is fitted on drawn words, among
which are one or two of three words of most labels of a document, up to the first number of labels (7,000). Every number
is that of a process of its own with one thread: processor seconds, and by how much the peak of resident memory grew
over that of the table. The exponent is the slope of log seconds on log labels between the last two sizes.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from paired import Curve, Row, exponent, machine, run, tell

from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.bootstrap import resample
from clinlm.metrics.classification import fit_thresholds, quality, weighted_quality

DOCUMENTS = int(os.environ.get("DOCUMENTS", "4000"))
LABELS, RESAMPLES = (20, 200, 2000, 7000), 1000
ROUNDS = 3
PEER = Path(__file__).parent / "peers" / "sklearn_quality.py"
WORK = ("quality", "thresholds", "intervals", "tfidf")


def main() -> None:
    """Print a line per kind of work."""
    limit, *sizes = (int(value) for value in sys.argv[1:]) if sys.argv[1:] else (LABELS[-1],)
    print(f"{machine()}; {DOCUMENTS:,} documents, one thread")
    tell(compared(sizes or LABELS))
    for work in WORK:
        found = []
        for labels in sizes or LABELS:
            if work != "tfidf" or labels <= limit:
                seconds, grown = measured(work, labels)
                found.append((labels, seconds))
                print(f"{work:12}{labels:7,} labels{seconds:9.2f} s{grown:8.0f} MiB", flush=True)
        if len(found) > 1:
            print(f"{work:12} exponent {exponent(*zip(*found[-2:], strict=True)):.2f}")
    print(machine())


def compared(sizes: Sequence[int]) -> list[Row | Curve]:
    """Return quality next to scikit-learn's metrics, which are the same, in paired rounds, up to 2,000 labels."""
    sizes = [labels for labels in sizes if labels <= 2000]
    costs: list[tuple[float, float]] = []
    rows: list[Row | Curve] = []
    with tempfile.TemporaryDirectory() as root:
        for labels in sizes:
            table = Path(root) / f"{labels}.npz"
            truth, scores, _ = drawn(labels)
            np.savez(table, truth=truth, scores=scores)
            pairs = []
            for _ in range(ROUNDS):
                ours, own = json.loads(run([__file__, "--quality", str(table)]))
                theirs, same = json.loads(run([str(PEER), str(table)]))
                assert all(abs(own[name] - same[name]) < 1e-9 for name in same), f"{own} must be {same}"
                pairs.append((ours, theirs))
            rows.append(Row.of(f"quality of {labels:,} labels", "scikit-learn", "s", *zip(*pairs, strict=True)))
            costs.append((rows[-1].ours, rows[-1].theirs))
    if len(sizes) > 1:
        rows.append(Curve("quality", "labels", "scikit-learn", tuple(sizes), *zip(*costs, strict=True)))
    return rows


def measure_quality(table: Path) -> None:
    """Print core-seconds, without imports and reading, and the metrics that the peer computes."""
    with np.load(table) as read:
        truth, scores = read["truth"], read["scores"]
    began = time.process_time()
    found = quality(truth, scores, np.full(truth.shape[1], 0.5))
    names = ("micro_f1", "macro_f1", "macro_auroc", "macro_auprc", "micro_auroc")
    print(json.dumps([time.process_time() - began, {name: float(found[name]) for name in names}]))


def measured(work: str, labels: int) -> tuple[float, float]:
    """Measure in another process: processor seconds, and MiB above those of the table."""
    command = [sys.executable, __file__, "--measure", work, str(labels)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, grown = json.loads(done.stdout)
    return seconds, grown


def measure(work: str, labels: int) -> None:
    """Measure in this process, and print the numbers as JSON."""
    truth, scores, rng = drawn(labels)
    halves, weights = np.full(labels, 0.5), resample(DOCUMENTS, RESAMPLES)
    texts = written(truth, rng) if work == "tfidf" else []
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, began = peak_mib(), time.process_time()
    if work == "quality":
        quality(truth, scores, halves)
    elif work == "thresholds":
        fit_thresholds(truth, scores, "per_label")
    elif work == "intervals":
        weighted_quality(truth, scores, halves, weights)
    else:
        held = DOCUMENTS // 5
        TfidfBaseline.fit(texts[held:], truth[held:], texts[:held], truth[:held])
    print(json.dumps([time.process_time() - began, peak_mib() - before]))


def written(truth: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Return texts of 200 words that say nothing, and words of their labels, in random order."""
    found = []
    for row, noise in zip(truth, (40_000 * rng.random((DOCUMENTS, 200)) ** 3).astype(int), strict=True):
        words = [f"w{word}" for word in noise]
        words += [f"l{label}x{j}" for label in np.flatnonzero(row) for j in range(3) if rng.random() < 0.5]
        found.append(" ".join(words[place] for place in rng.permutation(len(words))))
    return found


def drawn(labels: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Return truth and scores of a table, and what further numbers are drawn from."""
    rng = np.random.default_rng(0)
    share = np.clip(1 / np.arange(1, labels + 1) ** 0.9, 0.5 / DOCUMENTS, 0.4)
    truth, scores = np.empty((DOCUMENTS, labels), bool), np.empty((DOCUMENTS, labels), np.float32)
    for start in range(0, DOCUMENTS, 1000):  # as a model's probabilities are: no table of float64
        part = slice(start, start + 1000)
        truth[part] = rng.random(truth[part].shape) < share
        drawn_scores = rng.normal(np.log(share / 2), 1.5, truth[part].shape) + 3 * truth[part]
        scores[part] = 1 / (1 + np.exp(-drawn_scores))
    return truth, scores, rng


def peak_mib() -> float:
    """Return the peak of this process's resident memory since it was last set back."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found, "Linux tells it"
    return int(found[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--quality"]:
        measure_quality(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
