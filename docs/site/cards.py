"""Shows the docstring card of a method (Source, Changes, Cost, …) as a list: Markdown would run its lines together."""

import re
from typing import Any

import griffe

_LINE = re.compile(r"^(Source|Names|Changes|Needs|Cost|Departs|Clashes) {2,}(\S.*)$")


def listed(docstring: str) -> str:
    """Return a docstring with the lines of its card as items of a list."""
    lines: list[str] = []
    card = False
    for line in docstring.splitlines():
        found = _LINE.match(line)
        if found:
            lines += [] if card else [""]
            lines.append(f"- **{found[1]}**: {found[2]}")
            card = True
        elif card and line.startswith("   "):
            lines.append(f"    {line.strip()}")
        else:
            card = False
            lines.append(line)
    return "\n".join(lines)


class Cards(griffe.Extension):
    """Rewrites the docstrings of classes as they are read."""

    def on_class_instance(self, *, cls: griffe.Class, **others: Any) -> None:
        """See `listed`."""
        if cls.docstring:
            cls.docstring.value = listed(cls.docstring.value)
