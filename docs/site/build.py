"""`make docs`: the documents, the notebooks and the docstrings as a site.

    python docs/site/build.py [FOLDER]

writes the site to FOLDER (build/site). A dead link, a page that nothing leads to or a module that cannot be read ends
it with status 1. Needs the extra `docs` and nothing else: modules are read, not imported.
"""

import json
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
_TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")
_UP = re.compile(r"\]\((?:docs/|\.\./(?=[A-Z]))")
"""Links between the top of the project and docs/, which are one folder in the site."""
_LIST = re.compile(r"^(?!- |\d+\. |  |\||#|\s*$)(.+)\n(?=- )", re.M)
"""A line of text right before a list, which only GitHub takes for one."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def main(site: Path) -> None:
    """Build the site into `site`.

    Raises:
        Abort: MkDocs warned of something.
    """
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        copy_documents(source)
        notebooks = [{title: page} for title, page in write_notebooks(source)]
        pages = [{module: page} for module, page in write_api(source)]
        config = load_config(str(HERE / "mkdocs.yml"), docs_dir=str(source), site_dir=str(site.resolve()))
        for entry in config.nav:
            for title, filled in (("Notebooks", notebooks), ("API", pages)):
                if title in entry:
                    entry[title] = filled
            if "Guides" in entry:
                entry["Guides"] += unnamed(source, json.dumps(config.nav))
        build(config)


def unnamed(source: Path, navigation: str) -> list[dict[str, str]]:
    """Return title and page of the documents that mkdocs.yml gives no place: new ones are found."""
    left = [path for path in sorted(source.glob("*.md")) if f'"{path.name}"' not in navigation]
    return [{path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# "): path.name} for path in left]


def copy_documents(source: Path) -> None:
    """Copy the documents and what they link to into one folder, and let their links follow."""
    files = [*(ROOT / name for name in _TOP), *(path for path in (ROOT / "docs").iterdir() if path.is_file())]
    for path in files:
        if path.suffix == ".md":
            text = _LIST.sub(r"\1\n\n", _UP.sub("](", path.read_text(encoding="utf-8")))
            (source / path.name).write_text(text, encoding="utf-8")
        else:
            shutil.copy(path, source)
    shutil.copytree(ROOT / "docs" / "containers", source / "containers")
    (source / "site").mkdir()
    for name in ("iframe-worker.js", "tables.css"):
        shutil.copy(HERE / name, source / "site")


def write_notebooks(source: Path) -> Iterator[tuple[str, str]]:
    """Write the notebooks as documents; yield title and page of each."""
    (source / "notebooks").mkdir()
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        shutil.copy(path, source / "notebooks")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join(part for cell in cells for part in _parts(cell))
        title = text.partition("\n")[0].removeprefix("# ")
        heading = f"# {title}\n\n[This notebook]({path.name}), as it ran.\n"
        (source / "notebooks" / f"{path.stem}.md").write_text(heading + text.partition("\n")[2], encoding="utf-8")
        yield title, f"notebooks/{path.stem}.md"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the parts of a cell as Markdown: what was written, what it answered in text."""
    written = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield _UP.sub("](../", written.replace("](../", "](../docs/")) if "](../" in written else written
        return
    yield f"```python\n{written}\n```"
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        shown = _ANSI.sub("", "".join(text)).rstrip().expandtabs()
        if shown:
            yield f"```text\n{shown}\n```"


def write_api(source: Path) -> Iterator[tuple[str, str]]:
    """Write a page for every package; yield its name and page."""
    (source / "api").mkdir()
    packages = sorted(path.parent for top in ("clinlm", "callbacks") for path in (ROOT / top).glob("*/__init__.py"))
    for folder in [ROOT / "callbacks", *packages]:
        module = ".".join(folder.relative_to(ROOT).parts)
        nested = folder == ROOT / "callbacks"  # its groups have pages of their own
        names = [f"{module}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
        lines = [f"# {module}", "", f"::: {module}"] + ["    options: {show_submodules: false}"] * nested
        lines += [line for name in names * nested for line in ("", f"## {name}", "", f"::: {name}")]
        (source / "api" / f"{module}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield module, f"api/{module}.md"


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site")
    except Abort as error:
        sys.exit(f"make docs: {error}")
