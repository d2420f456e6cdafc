"""What thousands of labels cost: quality, thresholds, intervals and TF-IDF on 4,000 documents.

python benchmarks/labels.py [TF-IDF LABELS] [LABELS ...]

The table is drawn: label k has about 4,000 / k^0.9 positives, scores are drawn with an AUROC of about 0.92. TF-IDF is
fitted on drawn words, up to the first number of labels (200; every label costs four regressions of about 0.1 s). Every
number is that of a process of its own with one thread: processor seconds, and by how much the peak of resident memory
grew over that of the table. The exponent is the slope of log seconds on log labels between the last two sizes.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.bootstrap import resample
from clinlm.metrics.classification import fit_thresholds, quality, weighted_quality
from clinlm.metrics.hardware import Hardware

DOCUMENTS, LABELS, RESAMPLES = 4000, (20, 200, 2000, 7000), 1000
WORK = ("quality", "thresholds", "intervals", "tfidf")


def main() -> None:
    """Print a line per kind of work."""
    limit, *sizes = (int(value) for value in sys.argv[1:]) if sys.argv[1:] else (200,)
    print(f"{Hardware.of_this_process()}; load before: {os.getloadavg()[0]:.1f}; {DOCUMENTS:,} documents, one thread")
    for work in WORK:
        found = []
        for labels in sizes or LABELS:
            if work != "tfidf" or labels <= limit:
                seconds, grown = measured(work, labels)
                found.append((labels, seconds))
                print(f"{work:12}{labels:7,} labels{seconds:9.2f} s{grown:8.0f} MiB", flush=True)
        if len(found) > 1:
            (few, fast), (many, slow) = found[-2:]
            print(f"{work:12} exponent {math.log(slow / fast) / math.log(many / few):.2f}")
    print(f"load after: {os.getloadavg()[0]:.1f}")


def measured(work: str, labels: int) -> tuple[float, float]:
    """Measure in another process: processor seconds, and MiB above those of the table."""
    command = [sys.executable, __file__, "--measure", work, str(labels)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, grown = json.loads(done.stdout)
    return seconds, grown


def measure(work: str, labels: int) -> None:
    """Measure in this process, and print the numbers as JSON."""
    rng = np.random.default_rng(0)
    share = np.clip(1 / np.arange(1, labels + 1) ** 0.9, 0.5 / DOCUMENTS, 0.4)
    truth = rng.random((DOCUMENTS, labels)) < share
    scores = rng.normal(np.log(share / 2), 1.5, truth.shape)
    scores += 3 * truth
    scores = 1 / (1 + np.exp(-scores))
    halves, weights = np.full(labels, 0.5), resample(DOCUMENTS, RESAMPLES)
    texts = [" ".join(words) for words in (40_000 * rng.random((DOCUMENTS, 200)) ** 3).astype(int).astype(str)]
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


def peak_mib() -> float:
    """Return the peak of this process's resident memory since it was last set back."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found, "Linux tells it"
    return int(found[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
