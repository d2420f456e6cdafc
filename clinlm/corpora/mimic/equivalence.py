"""General Equivalence Mappings between ICD-9 and ICD-10, of which CMS publishes a file for each direction.

Source: the files of CMS (2018_I9gem.txt, 2018_I10gem.txt, gem_i9pcs.txt, gem_pcsi9.txt), in the public domain, and
their guide: https://www.cms.gov/medicare/coding-billing/icd-10-codes/icd-10-cm-icd-10-pcs-gem-archive. A line has a
source code, a target code (without dots) and five digits: approximate, no target, combination, scenario, choice list.
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.plain_text import read_lines

_LINE = re.compile(r"\s*(\w+)\s+(\w+)\s+([01])([01])([01])(\d)(\d)\s*")


def read_equivalences(path: Path) -> tuple[Mapping[str, tuple[str, ...]], Set[str]]:
    """Return the targets of every source code, and the sources for which one of several was taken.

    - Of alternatives, each a code by itself, the first line is taken.
    - Of a combination, the first scenario is taken, and of it the first code of every choice list, all together.
    - A source without a target has none.

    Raises:
        MissingFileError: the file does not exist.
        DataError: a line is none of such a file.
    """
    if not path.is_file():
        raise MissingFileError(f"gem must be a file of CMS, got {path}, which does not exist; set gem to it")
    single: dict[str, list[str]] = {}
    several: dict[str, dict[tuple[str, str], list[str]]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise DataError(
                f"a line of gem must be a code, a code and five digits, got something else in {path.name} line "
                f"{number:,}; set gem to a General Equivalence Mapping of CMS"
            )
        source, target, _, unmapped, combined, scenario, choice = parts.groups()
        if unmapped == "1":
            single.setdefault(source.upper(), [])
        elif combined == "1":
            several.setdefault(source.upper(), {}).setdefault((scenario, choice), []).append(target.upper())
        else:
            single.setdefault(source.upper(), []).append(target.upper())
    chosen = {source: tuple(targets[:1]) for source, targets in single.items()}
    doubts = {source for source, targets in single.items() if len(targets) > 1}
    for source, lists in several.items():
        first = min(scenario for scenario, _ in lists)
        if not chosen.get(source):
            together = [targets[0] for (scenario, _), targets in sorted(lists.items()) if scenario == first]
            chosen[source] = tuple(dict.fromkeys(together))
        if len({scenario for scenario, _ in lists}) > 1 or any(len(targets) > 1 for targets in lists.values()):
            doubts.add(source)
    return chosen, doubts
