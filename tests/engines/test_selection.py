"""Away from the processor of its export, a deployment is answered by the engine that is faster there, after a check."""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from support import families
from support.pipelines import built, kept

from callbacks.quantize.static import Static
from clinlm.config.errors import ModelError
from clinlm.engines import selection
from clinlm.engines.auto import Auto
from clinlm.engines.base import ONNX, engine_names, find_engine
from clinlm.engines.export import NOT_DEPLOYED, Deployment
from clinlm.engines.open_model import FACTS, open_model
from clinlm.engines.selection import CHECK, ENGINES, Checked, fastest_engine, offer_engines, open_here
from clinlm.engines.torch import network_answers
from clinlm.metrics.hardware import processor_here
from clinlm.models.model import Model
from clinlm.models.size import folder_bytes
from clinlm.predict.model_answerer import _identify
from clinlm.report.deployments import exports
from clinlm.store.content import RECORD, seal, verify, write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.text.tokens import save_tokenizer

BOTH = ["onnxruntime", "openvino"]
ELSEWHERE = "A processor (AVX2)"
LIMITS = {"largest_difference": 0.001, "mean_difference": 0.0005}
pytestmark = [
    pytest.mark.usefixtures("graphs"),
    pytest.mark.skipif(any(find_engine(name).missing() for name in BOTH), reason="an engine is not installed"),
]


@pytest.fixture(scope="module")
def deployed(_tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return folders with all that an export to engine=auto leaves for its opening, by engine."""
    made, folders = Model(families.spec("bert"), families.network("bert").eval(), _tiny_model.tokenizer), {}
    config = InferenceConfig("multilabel", ("a", "b", "c"), np.full(3, 0.5), 12, Head())
    for engine in Auto(BOTH).candidates():
        folders[engine.name] = folder = tmp_path_factory.mktemp(engine.name)
        engine.export(made, folder)
        config.save(folder)
        save_tokenizer(made.tokenizer, folder)
        Checked.of(network_answers(made.network), range(5, families.VOCABULARY), 12, False).save(folder)
        facts = {"engine": engine.name, "processor": processor_here(), "limits": LIMITS}
        write_json(folder / FACTS, facts)
        seal(folder, {"key": "k"})
    offer_engines(folders)
    return folders


@pytest.fixture(params=BOTH)
def folder(request: pytest.FixtureRequest, deployed: Mapping[str, Path], tmp_path: Path) -> Path:
    """Return a copy of a deployment."""
    return Path(shutil.copytree(deployed[request.param], tmp_path / "copy"))


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def elsewhere(monkeypatch: pytest.MonkeyPatch, times: Mapping[str, float]) -> list[list[str]]:
    """Pretend to be on another processor, with other times; return a list to which measurements are added."""
    timed: list[list[str]] = []

    def measured(answers: Mapping[str, object], checked: Checked) -> dict[str, float]:
        timed.append([*answers])
        return {name: times[name] for name in answers}

    monkeypatch.setattr(selection, "processor_here", lambda: ELSEWHERE)
    monkeypatch.setattr(selection, "processor_ms", measured)
    return timed


def other(folder: Path) -> str:
    own = json.loads((folder / FACTS).read_text())["engine"]
    return next(name for name in BOTH if name != own)


@pytest.mark.integration
def test_a_deployment_of_auto_has_one_file_that_both_engines_read(
    task: MultiLabel, tmp_path: Path, _tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinlm.pipeline.stage.measure_peak_mib", lambda folder, tokens: 1.0)
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))
    artifact = built(tmp_path / "int8", task, kept(_tiny_model, tmp_path / "start"), {"quantize": Static(documents=16)})
    (found,) = exports({"m": artifact}, Auto(BOTH), task, tmp_path / "store").values()
    for name, made in found.items():
        assert isinstance(made, Deployment)
        verify(made.folder)
        assert made.facts["engine"] == name and made.facts["processor"] == processor_here()
        assert (made.folder / ONNX).is_file() and not [*made.folder.glob("openvino_model.*")]
        assert {*json.loads((made.folder / ENGINES).read_text())["engines"]} == {*BOTH}
        assert made.facts["bytes"] == folder_bytes(made.folder, NOT_DEPLOYED)
        assert (made.folder / CHECK).stat().st_size < 4096
        elsewhere(monkeypatch, {name: 2.0, other(made.folder): 1.0})
        assert open_here(made.folder, 1).engine.name == other(made.folder)


def test_where_it_was_exported_nothing_is_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "processor_ms", lambda *rest: pytest.fail("it was timed"))
    assert open_here(folder, 1).engine.name != other(folder)


def test_elsewhere_the_faster_engine_answers_as_the_artifact_and_is_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before, quick = _identify(folder), other(folder)
    timed = elsewhere(monkeypatch, {name: 1.0 if name == quick else 2.0 for name in BOTH})
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        first = open_here(folder, 1)
    assert first.engine.name == open_here(folder, 1).engine.name == quick and len(timed) == 1
    (line,) = caplog.messages
    assert ELSEWHERE in line and f"{quick} answers" in line and str(folder / ENGINES) in line
    verify(folder)
    (folder / RECORD).unlink()  # as in a copy
    once = _identify(folder)
    (folder / ENGINES).unlink()
    assert _identify(folder) == once and before, "a stopped run continues after a choice"
    checked, limits = Checked.load(folder), json.loads((folder / FACTS).read_text())["limits"]
    assert checked.broken(first.answer, first.inference_config, limits) == ""
    fast = open_model(folder, 1, find_engine(quick))
    np.testing.assert_array_equal(checked.answers(first.answer), checked.answers(fast.answer))


def test_a_folder_that_cannot_be_written_is_remembered_in_the_users_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick = other(folder)
    timed = elsewhere(monkeypatch, {name: 1.0 if name == quick else 2.0 for name in BOTH})
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and access(path, mode))
    assert [open_here(folder, 1).engine.name for _ in range(2)] == [quick, quick] and len(timed) == 1
    assert len([*(tmp_path / "cache" / "clinlm" / "engines").iterdir()]) == 1

    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        assert open_here(folder, 1).engine.name != quick and len(timed) == 1, "every worker takes the same"
    assert "not remembered" in caplog.text


def test_an_engine_that_answers_otherwise_here_is_not_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick = other(folder)
    elsewhere(monkeypatch, {name: 1.0 if name == quick else 2.0 for name in BOTH})
    right = Checked.answers
    wrong = open_model(folder, 1, find_engine(quick))
    kind = type(wrong.engine)
    opened = kind.open
    monkeypatch.setattr(kind, "open", lambda self, *rest: lambda *row: opened(self, *rest)(*row) + 9)
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        assert open_here(folder, 1).engine.name != quick
    assert f"{quick} refused: largest difference" in caplog.text
    (folder / ENGINES).unlink()
    monkeypatch.setattr(Checked, "answers", lambda self, answer: right(self, answer) * np.nan)
    with pytest.raises(ModelError, match=f"must answer on this processor as its artifact does.*{ELSEWHERE[:5]}"):
        open_here(folder, 1)


def test_a_file_beside_the_record_names_no_class_to_import(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = json.loads((folder / FACTS).read_text())["engine"]
    elsewhere(monkeypatch, {name: 1.0 for name in BOTH})
    (folder / ENGINES).write_text('{"engines": ["foreign.Engine", "torch"], "chosen": {"A processor (AVX2)": "torch"}}')
    assert open_here(folder, 1).engine.name == own
    (folder / ENGINES).write_text("[]")
    assert open_here(folder, 1).engine.name == own and "cannot be read (TypeError); delete it" in caplog.text


def test_an_engine_that_is_not_installed_is_not_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, quick = json.loads((folder / FACTS).read_text())["engine"], other(folder)
    elsewhere(monkeypatch, {name: 1.0 if name == quick else 2.0 for name in BOTH})
    assert open_here(folder, 1).engine.name == quick
    for missing, left in ((quick, own), (own, quick)):
        with monkeypatch.context() as patch:
            patch.setattr(type(find_engine(missing)), "missing", lambda self: "a package")
            assert open_here(folder, 1).engine.name == left


def test_time_decides_only_where_it_differs_clearly() -> None:
    assert fastest_engine({"a": 1.0, "b": 0.95}, "a") == "a" and fastest_engine({"a": 1.0, "b": 0.8}, "a") == "b"
    assert fastest_engine({"b": 2.0}, "a") == "b", "the exported one may answer wrongly here"


def test_answers_of_a_tagger_are_kept_at_a_few_places(tmp_path: Path) -> None:
    def answer(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.stack([ids, 2 * ids, ids - 7], -1).astype(np.float32)

    made = Checked.of(answer, range(5, 90), 256, by_token=True)
    made.save(tmp_path)
    found = Checked.load(tmp_path)
    np.testing.assert_array_equal(found.answers(answer), made.logits)
    assert len(made.logits) == 4 * 8 and [len(row) for row in found.rows] == [64, 128, 192, 256]
    assert all(row.min() >= 5 and row.max() < 90 for row in found.rows)


def test_engines_are_timed_on_the_same_rows_in_turn() -> None:
    seen: list[str] = []
    checked = Checked([np.array([1, 2], np.int32)], [[]], np.zeros((1, 1), np.float32))
    ways = {name: lambda ids, mask, name=name: seen.append(name) or ids[:, :1] for name in ("a", "b")}
    assert {*selection.processor_ms(ways, checked)} == {"a", "b"} and seen[:4] == ["a", "b", "a", "b"]  # type: ignore[arg-type]


def test_engines_that_read_one_file_are_clinlms_own() -> None:
    assert {name for name in engine_names() if find_engine(name).reads_onnx} == {*BOTH}
