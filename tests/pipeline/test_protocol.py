"""A margin is fixed once, before results are known; a later one is told apart wherever a verdict is."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError
from clinlm.pipeline.protocol import PROTOCOLS, Protocol, close_protocols, fix_protocol
from clinlm.store.content import seal

METRICS = ("micro_f1", "macro_f1")


def settings(margin: float | None = 0.02, metric: str = "micro_f1") -> DictConfig:
    return OmegaConf.create({"margin": margin, "margin_metric": metric})


def folders(store: Path) -> list[Path]:
    return [store / "teacher-0", store / "student-1"]


def complete(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seal(folder, {})


def fixed(store: Path, margin: float = 0.02, metric: str = "micro_f1") -> Protocol:
    own = fix_protocol(settings(margin, metric), folders(store), METRICS)
    assert own is not None
    return own


def test_a_margin_fixed_before_has_no_caveat(tmp_path: Path) -> None:
    first = fixed(tmp_path)
    for folder in folders(tmp_path):
        complete(folder)
    assert fixed(tmp_path) == first and not first.caveat and first.fixed == f"{datetime.now(UTC):%Y-%m-%d}"


def test_another_margin_after_results_is_told(tmp_path: Path) -> None:
    fixed(tmp_path)
    complete(folders(tmp_path)[1])
    told = f"margin changed from 2 to 1 points after results were known (first fixed {datetime.now(UTC):%Y-%m-%d})"
    assert fixed(tmp_path, 0.01).caveat == told
    assert "to 2 points of macro_f1 after results" in fixed(tmp_path, 0.02, "macro_f1").caveat
    assert not fixed(tmp_path).caveat, "the first is still the first"


def test_until_there_are_results_a_margin_may_change(tmp_path: Path) -> None:
    fixed(tmp_path)
    complete(folders(tmp_path)[0])
    assert not fixed(tmp_path, 0.01).caveat, "the teacher alone says nothing of what is lost"
    complete(folders(tmp_path)[1])
    assert "from 1 to 2 points" in fixed(tmp_path).caveat


def test_what_is_removed_from_the_store_does_not_free_its_margin(tmp_path: Path) -> None:
    fixed(tmp_path, 0.02)
    complete(folders(tmp_path)[1])
    shutil.rmtree(folders(tmp_path)[1])
    close_protocols(tmp_path)
    assert "margin changed from 2 to 5 points after results were known" in fixed(tmp_path, 0.05).caveat
    assert fixed(tmp_path, 0.02).caveat == ""


def test_a_margin_for_what_was_built_before_is_told(tmp_path: Path) -> None:
    complete(folders(tmp_path)[1])
    assert "margin of 2 points fixed" in fixed(tmp_path).caveat


def test_of_many_at_once_one_is_first(tmp_path: Path) -> None:
    complete(folders(tmp_path)[1])
    margins = [0.01, 0.02, 0.03, 0.04] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda margin: fixed(tmp_path, margin), margins))
    assert len({own.first_margin for own in found}) == 1
    assert [own.margin for own in found] == margins


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"margin": 0.5, "metric": "micro_f1", "digest": "0"}'])
def test_a_changed_file_is_told(tmp_path: Path, content: str) -> None:
    fixed(tmp_path)
    complete(folders(tmp_path)[1])
    (path,) = (tmp_path / PROTOCOLS).glob("*.json")
    path.write_text(content)
    assert fixed(tmp_path).damaged and "cannot be traced" in fixed(tmp_path).caveat


@pytest.mark.parametrize("margin", [0.0, 1.0, 2, -0.02, "x", float("nan")])
def test_a_margin_is_a_share(tmp_path: Path, margin: float) -> None:
    with pytest.raises(ConfigError, match=r"margin must be a share in \(0, 1\)"):
        fix_protocol(settings(margin), folders(tmp_path), METRICS)


def test_no_margin_gives_no_protocol_and_a_task_must_measure_the_metric(tmp_path: Path) -> None:
    assert fix_protocol(settings(None), folders(tmp_path), METRICS) is None and not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="margin_metric must be one of"):
        fix_protocol(settings(metric="relaxed_micro_f1"), folders(tmp_path), METRICS)


def test_a_protocol_survives_the_record() -> None:
    own = Protocol("micro_f1", 0.02, "macro_f1", 0.01, "2026-11-29", late=True)
    assert Protocol(**json.loads(json.dumps(own.__dict__))) == own
    assert replace(own, first_metric="micro_f1", first_margin=0.02).caveat
