"""`python .ci/packages.py [FILE]`: name, version, size and licence of every package of this environment.

Says which have no licence in their metadata. Into FILE it writes, in Markdown, what each package that pyproject.toml
names brings: how many packages, how many of them no other of these brings, and MB on disk, all of them together.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
UNKNOWN = "unknown"


def normal(name: str) -> str:
    """Return the name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(package: metadata.PackageMetadata) -> str:
    """Return what a package says of its licence: an SPDX expression, else its classifiers, else a short text."""
    if expression := package.get("License-Expression"):
        return str(expression)
    classified = [one.rpartition(" :: ")[2] for one in package.get_all("Classifier") or [] if one[:7] == "License"]
    text = str(package.get("License") or "").strip()
    return "; ".join(classified) or (text if text and "\n" not in text else UNKNOWN)


def size(package: metadata.Distribution) -> int:
    """Return the bytes of the files of a package."""
    paths = [Path(str(file.locate())) for file in package.files or []]
    return sum(path.stat().st_size for path in paths if path.is_file())


def needed(name: str, installed: dict[str, metadata.Distribution], extras: frozenset[str] = frozenset()) -> set[str]:
    """Return a package and all that it needs, directly or not, of what is installed."""
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [(normal(name), extras)]
    while left:
        if (now := left.pop()) in seen or now[0] not in installed:
            continue
        seen.add(now)
        for line in installed[now[0]].requires or []:
            one = Requirement(line)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *now[1])):
                left.append((normal(one.name), frozenset(one.extras)))
    return {found for found, _ in seen}


def direct() -> Iterator[tuple[str, Requirement]]:
    """Yield extra ("" for what every installation has) and requirement of pyproject.toml; its tools are left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, lines in groups.items():
        if extra not in ("docs", "notebooks", "test"):
            yield from ((extra, Requirement(line)) for line in lines if not line.startswith("clinlm["))


def brought(installed: dict[str, metadata.Distribution], sizes: dict[str, int]) -> str:
    """Return the table of what each package that pyproject.toml names brings."""
    extras: dict[str, list[str]] = {}
    for extra, one in direct():
        extras.setdefault(normal(one.name), []).append(extra)
    all_of = {name: needed(name, installed) for name in extras if name in installed}
    lines = ["| package | extra | brings | it alone | MB | licence |", "| --- | --- | --- | --- | --- | --- |"]
    for name, found in all_of.items():
        rest = set().union(*(other for key, other in all_of.items() if key != name and extras[key] == [""]))
        package = installed[name]
        cells = (
            *(f"{name} {package.version}", ", ".join(extras[name]) or "–", len(found) - 1, len(found - rest - {name})),
            *(f"{sum(sizes[one] for one in found) / 1e6:.1f}", licence(package.metadata)),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main(*files: str) -> None:
    """Print the packages of this environment."""
    installed = {normal(one.name): one for one in metadata.distributions()}
    sizes = {name: size(one) for name, one in installed.items()}
    rows = [
        (name, one.version, f"{sizes[name] / 1e6:.1f}", licence(one.metadata))
        for name, one in sorted(installed.items())
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, version, megabytes, words in rows:
        print(f"{name:{widths[0]}}  {version:{widths[1]}}  {megabytes:>{widths[2]}} MB  {words}")
    unknown = [row[0] for row in rows if row[3] == UNKNOWN]
    print(
        f"{len(rows)} packages, {sum(sizes.values()) / 1e6:.0f} MB; without a licence: {', '.join(unknown) or 'none'}"
    )
    for file in files:
        Path(file).write_text(brought(installed, sizes), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
