"""How the cost of a sweep grows with its jobs, and what a sweep of 1,000 would take.

python benchmarks/sweeps.py [--jobs 2 4 8 16]

Jobs share a tiny teacher of generated notes; each prunes it by a ratio of its own, recovers, and is compared with all
others at the end. What is learned takes a second, so that what is told is what clinlm adds to every job and to every
row of a report. Seconds and CPU seconds are those of whole commands on one thread, each into a store of its own. A
start and a cost a job are fitted to all but the last number of jobs, where their error is told. The cost of the report
alone is that of the same sweep typed again, when all stages are in the store.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from paired import foretold, machine

SETTINGS = """task.corpus.patients=60 task.max_tokens=24 model@teacher=tiny teacher.vocabulary=150 epochs=1
teacher.config.max_position_embeddings=32 batch_size=8 trainer=cpu precision=32-true pipeline=pruning prune.skip_std=0
report.latency_documents=3 report.latency_passes=1""".split()
FAR = 1000
"""Jobs for which a cost is foretold."""


def sweep(jobs: int, folder: str) -> tuple[float, float]:
    """Run a sweep; return its seconds and CPU seconds."""
    ratios = ",".join(f"{0.1 + 0.7 * job / jobs:.4f}" for job in range(jobs))
    places = [f"store={folder}/store", f"hydra.sweep.dir={folder}/sweep-{time.monotonic_ns()}"]
    command = [sys.executable, "-m", "clinlm", "-m", *SETTINGS, f"prune.ratio={ratios}", *places]
    began, used = time.perf_counter(), _used_s()
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began, _used_s() - used


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a sweep, and what is foretold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[2, 4, 8, 16])
    given = parser.parse_args(arguments)
    print(machine())
    kinds = ("built", "typed again")
    costs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for jobs in given.jobs:
        with tempfile.TemporaryDirectory() as folder:
            for kind in kinds:
                costs[kind].append(sweep(jobs, folder))
                wall, cpu = costs[kind][-1]
                print(f"{jobs:5} jobs {kind:12}{wall:8.1f} s, CPU {cpu:8.1f} s", flush=True)
    if len(given.jobs) > 2:
        for kind, own in costs.items():
            for name, each in zip(("clock", "CPU"), zip(*own, strict=True), strict=True):
                print(f"{kind}, seconds by the {name}: {foretold('jobs', given.jobs, each, FAR)}")
    print(machine())


if __name__ == "__main__":
    main()
