"""Write the table of methods and encoder families into docs/families.md: `python benchmarks/families.py`.

It applies every method to the shapes of a tiny network of every family. That this tells the truth is what
`pytest -m families` tests: there methods are applied to networks, and the results are checked a second way.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.method_matrix import FAMILIES, METHODS, refusal  # noqa: E402

PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- families -->\n", "<!-- /families -->\n"


def table() -> str:
    """Return the table, and under it the reasons of all refusals."""
    found = {(family, method): refusal(family, method) for family in FAMILIES for method in METHODS}
    lines = [f"| method | {' | '.join(FAMILIES)} |", f"| --- |{' :-: |' * len(FAMILIES)}"]
    for method in METHODS:
        cells = ["–" if found[family, method] else "yes" for family in FAMILIES]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    known = [method for method in METHODS if not all(found[family, method] for family in FAMILIES)]
    reasons = sorted({found[family, method].split("; ")[0] for family in FAMILIES for method in known} - {""})
    listed = [f"- {reason}" for reason in reasons]
    return "\n".join([*lines, "", "Refusals, in the words of the error:", "", *listed]) + "\n"


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
    print(f"{len(FAMILIES)} families, {len(METHODS)} methods: {PAGE}")
