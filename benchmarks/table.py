"""All comparisons of speed as one table of ratios to peers, with the curves below: `make bench`.

python benchmarks/table.py [--quick] [--only NAME ...]

Every benchmark runs its peer's own script (benchmarks/peers) and ours in turn. --quick takes the smallest sizes and one
round: it shows that everything runs, and its ratios are rough. The files of this folder that are not named here measure
quality, memory or sizes, and print tables of their own.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from paired import ROWS, machine, run, tell, told

HERE = Path(__file__).parent
JOBS = {
    "training": ([], ["--notes", "30", "--rounds", "1", "--epochs", "1", "--corpora", "handoffs"]),
    "throughput": ([], ["--documents", "200", "--rounds", "1", "--pipeline-documents", "8"]),
    "curves": ([], ["--documents", "9", "--rounds", "1", "--axes", "tokens"]),
    "tokenizing": ([], ["--documents", "50", "--rounds", "1"]),
    "reading": ([], ["2000", "1"]),
    "ontology": ([], ["--terms", "20000", "--megabytes", "1", "--small", "2000"]),
    "labels": ([], ["0", "20", "200"]),
}
"""Benchmark -> its arguments, and those of --quick."""


def main() -> None:
    """Run all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*JOBS], default=[*JOBS], metavar="NAME")
    given = parser.parse_args()
    began, failed = time.monotonic(), []
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "rows.jsonl"
        place.touch()
        os.environ[ROWS] = str(place)
        for name in given.only:
            started = time.monotonic()
            ended = "done"
            try:
                run([str(HERE / f"{name}.py"), *JOBS[name][given.quick]])
            except SystemExit as failure:  # the others are worth their hour all the same
                ended = f"failed: {failure}"
                failed.append(name)
            print(f"{name}: {time.monotonic() - started:.0f} s, {ended}", flush=True)
        del os.environ[ROWS]
        tell(told(place))
    print(f"{machine()}\nin {(time.monotonic() - began) / 60:.0f} minutes")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
