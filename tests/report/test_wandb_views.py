"""Laws of the views of W&B: built without a server, they show our columns of the runs of one sweep."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import clinlm.report
from clinlm.report.columns import summary_columns
from clinlm.report.wandb_views import view_report, workspace

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces 0.4
VARIED = ("pipeline", "quantize", "settings.prune.ratio")


def spec(view: Any) -> str:
    return str(view._to_model().model_dump_json(by_alias=True, exclude_none=True))


def test_a_workspace_shows_columns_that_runs_have() -> None:
    text = spec(workspace(None, "clinlm", "2026-11-29", "micro_f1", VARIED))
    named = {
        part for part in json.dumps(json.loads(text)).replace('\\"', '"').split('"') if part.startswith("summary:")
    }
    columns = {name.removeprefix("summary:") for name in named}
    assert columns and columns <= {*summary_columns(None, "test")}
    assert "2026-11-29" in text and "tables/results" in text and "tables/subgroups" in text


def test_pictures_are_looked_for_by_the_names_that_reports_give_them() -> None:
    text = spec(workspace(None, "clinlm", "then", "micro_f1", VARIED))
    asked = {*re.findall(r"plots/(\w+)", text)}
    assert asked == {"grid", "pareto", "labels", "reliability", "uncertainty"}
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(clinlm.report.__path__[0]).glob("*.py"))
    assert all(f'folder, "{name}")' in sources or f'NAME: Final = "{name}"' in sources for name in asked)


def test_a_report_says_what_follows_and_shows_every_table() -> None:
    text = spec(view_report(None, "clinlm", "then", "macro_f1", VARIED, ["Use TF-IDF."], "clinlm then"))
    assert "Use TF-IDF." in text and "final/macro_f1" in text and "settings.prune.ratio" in text
    assert all(f"tables/{name}" in text for name in ("results", "grid", "labels", "subgroups", "gates", "published"))
