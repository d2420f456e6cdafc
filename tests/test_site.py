"""The site of the documents: it asks for nothing elsewhere, no link is dead, and a dead one ends `make docs`."""

import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.browser import browser

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def python() -> str:
    """The Python that has what builds the site."""
    own = ROOT / ".venv-docs" / "bin" / "python"
    if own.exists():
        return str(own)
    if importlib.util.find_spec("mkdocs") and importlib.util.find_spec("mkdocstrings"):
        return sys.executable
    pytest.skip("MkDocs is not installed: `make integration` and `make docs` do it")


@pytest.fixture(scope="module")
def site(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [python, str(ROOT / "docs/site/build.py"), str(folder)], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What a page loads, where it leads, and what can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.policies: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(found["content"])
        else:
            places = [found[name] for name in ("src", "srcset", "href", "data", "poster", "action") if name in found]
            self.loaded += [place for place in places if found.get("rel") != "canonical"]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def elsewhere(place: str) -> bool:
    return bool(urlsplit(place).netloc) or urlsplit(place).scheme not in ("", "data")


def test_there_is_a_page_for_every_document_package_and_notebook(site: Path) -> None:
    made = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html")}
    documents = {path.stem for path in ROOT.glob("docs/*.md")}
    notebooks = {f"notebooks/{path.stem}" for path in ROOT.glob("docs/notebooks/*.ipynb")}
    packages = {f"api/clinlm.{path.parent.name}" for path in ROOT.glob("clinlm/*/__init__.py")}
    assert documents | notebooks | packages | {"index", "CONTRIBUTING", "api/callbacks.prune"} <= made
    card = re.sub(r"<[^>]+>", "", (site / "api/callbacks.prune.html").read_text(encoding="utf-8"))
    assert re.search(r"^Source: ", card, re.M) and re.search(r"^Changes: ", card, re.M), "cards are lists"


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert [place for page in pages.values() for place in page.loaded if elsewhere(place)] == []
    for page in pages.values():  # and a browser would refuse it
        (policy,) = page.policies
        assert policy.startswith("default-src 'self'") and "http" not in policy and "*" not in policy
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        asked = re.findall(r"url\(\s*[\"']?([^\"')]+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)
        assert [place for place in asked if elsewhere(place)] == []


def test_links_lead_to_pages_and_headings(site: Path, pages: dict[Path, Page]) -> None:
    """Counted on the pages as they are, beside MkDocs' own check of their sources."""
    dead = []
    for path, page in pages.items():
        for link in (link for link in page.links if not elsewhere(link) and path.name != "404.html"):
            place, _, anchor = unquote(link).partition("#")
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.exists() or (anchor and known and not anchor.startswith("__") and anchor not in known.ids):
                dead.append((path.name, link))
    assert dead == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The documents and what builds them, of a project without modules."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for top in ("clinlm", "callbacks"):
        (tmp_path / top).mkdir()
        (tmp_path / top / "__init__.py").write_text(f'"""{top}."""\n')
    for path in [*ROOT.glob("*.md"), ROOT / "CITATION.cff", ROOT / "LICENSE"]:
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("link", ["[gone](gone.md)", "[gone](cli.md#gone)", "![gone](gone.svg)"])
def test_a_dead_link_ends_the_build(python: str, copy: Path, link: str) -> None:
    page = copy / "docs" / "style.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{link}\n", encoding="utf-8")
    command = [python, str(copy / "docs/site/build.py"), str(copy / "built")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 1 and "gone" in done.stderr, done.stderr


SEARCH = """new Promise(done => {
    const field = document.querySelector(".md-search__input")
    field.focus()
    field.value = "wanda"
    for (const kind of ["keyup", "input"]) field.dispatchEvent(new Event(kind, {bubbles: true}))
    const look = left => {
        const found = [...document.querySelectorAll(".md-search-result__item a")].map(link => link.href)
        found.length || !left ? done(found) : setTimeout(look, 100, left - 1)
    }
    look(300)
})"""
"""Types a word into the field of the search; its value is where the results lead, after 30 seconds at the latest."""


@pytest.mark.parametrize("page", ["index.html", "api/callbacks.prune.html"])
def test_a_browser_opens_and_searches_it_from_the_folder(site: Path, page: str, tmp_path: Path) -> None:
    """No request to elsewhere, and nothing on the console."""
    with browser(tmp_path / "profile") as opened:
        opened.open(site / page)
        assert opened.run("document.querySelector('.md-content') !== null")
        found = opened.run(SEARCH)
        assert f"{site.as_uri()}/api/callbacks.prune.html?h=wanda#callbacks.prune.wanda.Wanda" in found
        assert opened.problems == []
        assert [url for url in opened.requests if not url.startswith(site.as_uri())] == []
