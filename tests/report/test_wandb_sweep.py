"""Laws of the sweep that `clinlm report wandb-sweep` writes: what its agents type is what our sweeps typed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.reports import result
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import RunRecord, TaskRecord
from clinlm.report.wandb_command import wandb_sweep
from clinlm.report.written import WrittenReport

VALUES = ("0.25", "1e-4", "3", "true", "null", "wanda", "[a,b]", "'two words'", "{a:1}", "2026-11-29")
COMMON = ("task=table", "+experiment=mtsamples", "logger=csv")


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Write the sweep of jobs with these overrides, and return it."""

    def write(jobs: list[tuple[str, ...]], **settings: str) -> dict[str, Any]:
        task = TaskRecord("k", {}, {}, ())
        runs = tuple(
            RunRecord("a", 0, (*COMMON, *job), "/store", "val/macro_f1", task, (), {}, None, (), {}, None)
            for job in jobs
        )
        report = WrittenReport(tmp_path, runs, (result("a"),), (), (), None)
        monkeypatch.setattr(WrittenReport, "read", lambda folder: report)
        wandb_sweep(tmp_path, settings)
        found: dict[str, Any] = yaml.safe_load((tmp_path / "wandb_sweep.yaml").read_text(encoding="utf-8"))
        return found

    return write


def test_agents_type_what_the_jobs_typed(swept: Any) -> None:
    sweep = swept([("+sweep.value=" + value, "prune=wanda") for value in VALUES])
    assert [*sweep["parameters"]] == ["+sweep.value"] and "prune=wanda" in sweep["command"]
    parse = OverridesParser.create().parse_override
    for typed, value in zip(VALUES, sweep["parameters"]["+sweep.value"]["values"], strict=True):
        [word] = create_sweep_command_args({"args": {"+sweep.value": {"value": value}}})["args_no_hyphens"]
        ours, theirs = parse("+sweep.value=" + typed), parse(word)
        assert ours.value() == theirs.value() and ours.type == theirs.type, word


def test_a_command_runs_our_pipeline_online_with_what_all_jobs_share(swept: Any) -> None:
    command = swept([("seed=1", "logger.mode=offline"), ("seed=2", "logger.mode=offline")])["command"]
    assert command[:3] == ["${interpreter}", "-m", "clinlm"] and command[-1] == "${args_no_hyphens}"
    assert command[3:-1] == ["task=table", "+experiment=mtsamples", "logger=wandb", "logger.mode=online"]


def test_a_sweep_varies_what_is_asked_for(swept: Any) -> None:
    sweep = swept([("seed=1",), ("seed=2",)], method="bayes", **{"prune.ratio": "interval(0.1, 0.8)", "seed": "3,4"})
    assert sweep["parameters"] == {"seed": {"values": [3, 4]}, "prune.ratio": {"min": 0.1, "max": 0.8}}
    assert sweep["metric"] == {"name": "validation/macro_f1", "goal": "maximize"}


def test_a_sweep_chooses_nothing_by_test(swept: Any) -> None:
    with pytest.raises(ConfigError, match="a sweep must not choose by test documents, got metric=final/micro_f1"):
        swept([("seed=1",), ("seed=2",)], metric="final/micro_f1")
    with pytest.raises(ConfigError, match="a sweep must vary a setting, got none"):
        swept([("seed=1",)])
