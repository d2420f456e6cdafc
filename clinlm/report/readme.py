"""`python -m clinlm.report.readme README.md NAME=FILE ...`: put generated tables between the marks of a document.

A mark is a pair of comments, `<!-- NAME -->` and `<!-- /NAME -->`; the text between them is replaced by the
Markdown file.
"""

import re
import sys
from pathlib import Path


def main() -> None:
    """Fill the document named on the command line."""
    document = Path(sys.argv[1])
    text = document.read_text(encoding="utf-8")
    for word in sys.argv[2:]:
        name, _, file = word.partition("=")
        text = filled(text, name, Path(file).read_text(encoding="utf-8"))
    document.write_text(text, encoding="utf-8")


def filled(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between the marks of `name`.

    Raises:
        ValueError: the document does not have exactly one such pair of marks.
    """
    mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    if len(mark.findall(text)) != 1:
        raise ValueError(f"a document must have one pair of marks <!-- {name} --> and <!-- /{name} -->; add it")
    return mark.sub(lambda found: f"{found[1]}\n{content.strip()}\n\n{found[2]}", text)


if __name__ == "__main__":
    main()
