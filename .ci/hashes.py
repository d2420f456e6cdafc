"""`python .ci/hashes.py [WHEEL OF TORCH …]`: write .ci/hashed.txt, the pins of constraints.txt with their sha256.

Needs uv (`pip install uv`), which asks its index for the sha256 of every file of a version: of all platforms, and of
the source. Not for torch: PyPI's builds for Linux need NVIDIA's libraries, which no pin names, and pip prefers them to
a wheel in a folder. Name the wheels that serve, of

    pip download --no-deps --index-url https://download.pytorch.org/whl/cpu torch==VERSION

Where a pin stands as it was, sha256 that were known before stay: an index adds files to a version, and changes none.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
HASHED = Path(__file__).parent / "hashed.txt"
_HEAD = """\
# Made by `python .ci/hashes.py`: the pins of constraints.txt with the sha256 of every file of each; docs/install.md
# says how to install with them. torch: only the build for CPUs, Python 3.11, Linux x86-64.
"""


def read_hashes(text: str) -> dict[str, set[str]]:
    """Return the sha256, 64 hexadecimal digits each, of every pin `name==version` of a file that pip reads."""
    lines = [line for line in re.sub(r"\\\n|#.*", "", text).splitlines() if line.strip()]
    return {line.split()[0]: set(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)) for line in lines}


def ask(pins: str) -> dict[str, set[str]]:
    """Return what uv finds for pins, one a line. Ends with its status if it fails."""
    options = ("--quiet", "--no-deps", "--no-header", "--no-annotate", "--generate-hashes")
    done = subprocess.run(["uv", "pip", "compile", *options, "-"], input=pins, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return read_hashes(done.stdout)


def main(*wheels: str) -> None:
    """Write .ci/hashed.txt."""
    pins = re.findall(r"^[\w.-]+==\S+", PINS.read_text(encoding="utf-8"), re.M)
    found = {pin.lower().replace("_", "-"): hashes for pin, hashes in ask("\n".join(pins)).items()}
    before = read_hashes(HASHED.read_text(encoding="utf-8")) if HASHED.exists() else {}
    hashes = {pin: found[pin.lower().replace("_", "-")] | before.get(pin, set()) for pin in pins}
    (torch,) = (pin for pin in pins if pin.startswith("torch=="))
    hashes[torch] = before.get(torch, set())
    for wheel in map(Path, wheels):
        if not wheel.name.startswith(torch.replace("==", "-")):
            sys.exit(f"a wheel must be one of {torch}, got {wheel}")
        hashes[torch].add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    lines = [" \\\n    --hash=sha256:".join([pin, *sorted(hashes[pin])]) for pin in pins]
    HASHED.write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(
        f"{HASHED}: {len(pins)} pins, {sum(map(len, hashes.values()))} sha256, {len(hashes[torch])} of them of {torch}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
