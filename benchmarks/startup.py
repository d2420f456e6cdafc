"""Seconds from a command to its answer: help, settings, a pipeline that is all in the store, predict's first answer.

python benchmarks/startup.py [--rounds 5] [--before CHECKOUT]

Every command runs in a process of its own, once a round, in turn; CPU seconds (of the process and its children) and
seconds by the clock are medians over the rounds. With --before, another checkout takes turns with this one, and the
ratios of its medians to ours are printed: above 1, ours is faster. The pipeline is `pipeline=distillation` with a
teacher of two layers on generated notes; it is built first and run again, so that its latencies are in the store. Both
checkouts have a store of their own.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from clinlm.metrics.hardware import Hardware
from clinlm.metrics.latency import load_now

HERE = Path(__file__).parents[1]
PIPELINE = ("pipeline=distillation", "model@teacher=tiny", "student.layers=1", "epochs=1")
NOTES = HERE / "docs/notes.csv"


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the command lines by name; `folder` has the store, and gets what they write."""
    pipeline = [*PIPELINE, f"store={folder / 'store'}", f"hydra.run.dir={folder / 'run'}"]
    found = {f"{name} --help".strip(): [*name.split(), "--help"] for name in ("", "predict", "check", "report")}
    found |= {"list": ["list"], "--cfg job": ["--cfg", "job"], "check": ["check", f"input={NOTES}"]}
    found["cached pipeline"] = pipeline
    for kind in ("tfidf_int8", "student"):
        for stored in sorted((folder / "store").glob(f"{kind}-*"))[:1]:
            places = [f"artifact={stored}", f"input={NOTES}", f"output={folder / 'answers.jsonl'}", "text=note"]
            found[f"predict, {kind}"] = ["predict", *places]
    return found


def seconds(words: Sequence[str], checkout: Path, folder: Path) -> tuple[float, float]:
    """Run a command, and return its CPU seconds and those by the clock."""
    for answers in folder.glob("answers.jsonl*"):
        answers.unlink()
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "clinlm", *words], env=environment, cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"clinlm {' '.join(words)} failed in {checkout}:\n{done.stderr}")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (ended.ru_utime + ended.ru_stime) - (used.ru_utime + used.ru_stime)
    return cpu, time.perf_counter() - began


def measured(
    checkouts: Mapping[str, Path], root: Path, rounds: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return the seconds of every command (its name, and that of the checkout) in every round."""
    folders = {name: root / name for name in checkouts}
    for name, folder in folders.items():
        folder.mkdir()
        for _ in range(2):
            seconds(commands(folder)["cached pipeline"], checkouts[name], folder)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for command in commands(folders["ours"]):
            for name, checkout in checkouts.items():
                if words := commands(folders[name]).get(command):
                    found.setdefault((command, name), []).append(seconds(words, checkout, folders[name]))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path)
    given = parser.parse_args()
    checkouts = {"ours": HERE} | ({"before": given.before.resolve()} if given.before else {})
    load = load_now(1.0)
    print(f"{Hardware.of_this_process()}; other processes use {'?' if load is None else f'{load:.0%}'} of the cores")
    with tempfile.TemporaryDirectory() as root:
        found = measured(checkouts, Path(root), given.rounds)
    print(f"{'command':22}{'CPU s':>8}{'clock s':>9}{'before, CPU s':>15}{'ratio':>7}")
    for command, name in found:
        if name == "ours":
            cpu, clock = (median(each) for each in zip(*found[command, name], strict=True))
            other = median(own for own, _ in found[command, "before"]) if (command, "before") in found else None
            ratio = "" if other is None else f"{other:15.2f}{other / cpu:7.2f}"
            print(f"{command or '(none)':22}{cpu:8.2f}{clock:9.2f}{ratio}")


if __name__ == "__main__":
    main()
