"""The command `clinlm report html`, and the page that every run and sweep writes at its end."""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from clinlm.config.errors import ConfigError
from clinlm.report.command import refuse_others
from clinlm.report.html.contents import contents
from clinlm.report.html.unfinished import unfinished_contents, unfinished_jobs
from clinlm.report.written import RESPLITS, TABLE, WrittenReport

PAGE: Final = "report.html"
"""Of a run's or sweep's folder."""
_HERE = Path(__file__).parent


def html_report(folder: Path, settings: dict[str, str]) -> list[str]:
    """One HTML file: question, answer, sortable table, plots, evidence; asks nothing of the network.

    A folder whose jobs all failed gets a page that lists them.
    """
    refuse_others(settings, ())
    written = any((folder / f"{name}.json").is_file() for name in (TABLE, RESPLITS))
    if not written and unfinished_jobs(folder):
        return [str(_write(folder, unfinished_contents(folder)))]
    return [str(write_page(WrittenReport.read(folder)))]


def write_page(written: WrittenReport) -> Path:
    """Write report.html into the folder of `written`, and return its path."""
    if not written.results:
        raise ConfigError(f"a page needs at least one result, got none in {written.folder}")
    return _write(written.folder, contents(written))


def _write(folder: Path, values: Mapping[str, Any]) -> Path:
    from clinlm.store.content import write_files

    return write_files(folder, {PAGE: render(values)})[0]


def render(values: Mapping[str, Any]) -> str:
    """Return the page. Every value is escaped; the only script that may run is ours, by its hash in the page's policy.

    Args:
        values: see `clinlm.report.html.contents.contents`.
    """
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return str(_template().render(values, script=script, style=style, digest=digest))


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.policies["json.dumps_function"] = _dumps
    return made.get_template("page.html")


def _dumps(value: Any, **kwargs: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
