"""Away from the processor of its export, a deployment is answered by the engine that is faster there, after a check."""

import json
import logging
import os
import random
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.broken_models import Broken, attacks, break_copy, judged, said_by_predict
from support.onnx_deployments import bag_of_words, deploy_bags
from support.pipelines import built, kept

from callbacks.quantize.static import Static
from clinlm.config.errors import MissingFileError, ModelError
from clinlm.engines import selection
from clinlm.engines.auto import Auto
from clinlm.engines.base import ONNX, engine_names, find_engine
from clinlm.engines.deployment import Deployment
from clinlm.engines.export import NOT_DEPLOYED
from clinlm.engines.open_model import CHECK, FACTS, open_model
from clinlm.engines.selection import CHOICE, ENGINES, Checked, fastest_engine, offer_engines, open_here
from clinlm.metrics.hardware import processor_here
from clinlm.models.model import Model
from clinlm.models.size import folder_bytes
from clinlm.predict.model_answerer import _identify
from clinlm.report.deployments import exports
from clinlm.store.content import RECORD, Damaged, verify, write_json
from clinlm.tasks.multilabel import MultiLabel

BOTH = ["onnxruntime", "openvino"]
ELSEWHERE = "A processor (AVX2)"
pytestmark = pytest.mark.skipif(any(find_engine(one).missing() for one in BOTH), reason="an engine is not installed")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return folders with all that an export to engine=auto leaves for its opening, by engine."""
    folders = {name: tmp_path_factory.mktemp(name) for name in BOTH}
    deploy_bags(folders)
    return folders


@pytest.fixture
def folder(request: pytest.FixtureRequest, deployed: Mapping[str, Path], tmp_path: Path) -> Path:
    """Return a copy of a deployment, exported to OpenVINO unless a test names the engine."""
    return Path(shutil.copytree(deployed[getattr(request, "param", BOTH[1])], tmp_path / "copy"))


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


def facts_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / FACTS).read_text())
    return found


def other(folder: Path) -> str:
    return next(name for name in BOTH if name != facts_of(folder)["engine"])


def prefer_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[list[str]]]:
    """Pretend to be where the other engine is faster; return its name, and the list of measurements."""
    quick = other(folder)
    return quick, elsewhere(monkeypatch, {name: 1.0 if name == quick else 2.0 for name in BOTH})


@pytest.mark.integration
def test_a_deployment_of_auto_has_one_file_that_both_engines_read(
    task: MultiLabel, tmp_path: Path, _tiny_model: Model, monkeypatch: pytest.MonkeyPatch, graphs: None
) -> None:
    monkeypatch.setattr("clinlm.pipeline.stage.measure_peak_mib", lambda folder, tokens: 1.0)
    artifact = built(tmp_path / "int8", task, kept(_tiny_model, tmp_path / "start"), {"quantize": Static(documents=16)})
    (found,) = exports({"m": artifact}, Auto(BOTH), task, tmp_path / "store").values()
    for name, made in found.items():
        assert isinstance(made, Deployment), made
        verify(made.folder)
        assert made.facts["engine"] == name and made.facts["processor"] == processor_here()
        assert made.facts["process_mib"] > made.facts["peak_mib"] > 0
        assert (made.folder / ONNX).is_file() and not [*made.folder.glob("openvino_model.*")]
        assert json.loads((made.folder / ENGINES).read_text())["engines"] == BOTH
        assert made.facts["bytes"] == folder_bytes(made.folder, NOT_DEPLOYED)
        assert (made.folder / CHECK).stat().st_size < 4096
        with monkeypatch.context() as patch:
            quick, _ = prefer_other(made.folder, patch)
            assert open_here(made.folder, 1).engine.name == quick


def test_where_it_was_exported_nothing_is_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "processor_ms", lambda *rest: pytest.fail("it was timed"))
    assert open_here(folder, 1).engine.name == facts_of(folder)["engine"]


def test_another_version_of_the_engine_is_checked_where_it_was_exported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick, timed = prefer_other(folder, monkeypatch)
    monkeypatch.setattr(selection, "processor_here", processor_here)
    monkeypatch.setattr(type(find_engine(str(facts_of(folder)["engine"]))), "version", lambda self: "0.1")
    assert [open_here(folder, 1).engine.name for _ in range(2)] == [quick, quick] and len(timed) == 1
    monkeypatch.setattr(selection, "version", lambda package: "0.1")
    monkeypatch.setattr(Checked, "answers", lambda self, answer: self.logits + 9)
    with pytest.raises(ModelError, match=r"as its artifact does, got .*, this is .* onnxruntime 0\.1, openvino 0\.1"):
        open_here(folder, 1)


def test_a_choice_holds_for_the_versions_that_it_was_made_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick, timed = prefer_other(folder, monkeypatch)
    open_here(folder, 1)
    for package in BOTH:
        with monkeypatch.context() as patch:
            patch.setattr(selection, "version", lambda name, own=package: "0.1" if name == own else "1")
            assert [open_here(folder, 1).engine.name for _ in range(2)] == [quick, quick]
    assert open_here(folder, 1).engine.name == quick and len(timed) == 3 == len([*folder.glob(f"{CHOICE}*")])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    first, *others = folder.glob(f"{CHOICE}*")
    for note in others:
        note.write_bytes(first.read_bytes())
    open_here(folder, 1)
    for package in BOTH:
        with monkeypatch.context() as patch:
            patch.setattr(selection, "version", lambda name, own=package: "0.1" if name == own else "1")
            open_here(folder, 1)
    assert len({*(line for line in caplog.messages if "is not used" in line)}) == 2, "notes of other versions"


@pytest.mark.parametrize("folder", BOTH, indirect=True)
def test_elsewhere_the_faster_engine_answers_as_the_artifact_and_is_noted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = _identify(folder)
    quick, timed = prefer_other(folder, monkeypatch)
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        first = open_here(folder, 1)
    assert first.engine.name == open_here(folder, 1).engine.name == quick and len(timed) == 1
    (line,) = caplog.messages
    (note,) = folder.glob(f"{CHOICE}*")
    assert ELSEWHERE in line and f"{quick} answers" in line and str(note) in line
    verify(folder)
    assert _identify(folder) == before
    (folder / RECORD).unlink()  # as in a copy
    once = _identify(folder)
    note.unlink()
    (folder / ENGINES).unlink()
    assert _identify(folder) == once, "a stopped run continues after a choice"
    ids = np.array([[3, 5, 7, 0]])
    np.testing.assert_allclose(first.answer(ids, ids), bag_of_words(ids, ids), atol=1e-4)


def test_a_folder_that_cannot_be_written_is_noted_in_the_users_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick, timed = prefer_other(folder, monkeypatch)
    write = selection._write_first

    def read_only(path: Path, content: Mapping[str, object]) -> None:
        if path.parent == folder:
            raise OSError(30, "Read-only file system")
        write(path, content)

    monkeypatch.setattr(selection, "_write_first", read_only)
    assert [open_here(folder, 1).engine.name for _ in range(2)] == [quick, quick] and len(timed) == 1
    assert len([*(tmp_path / "cache" / "clinlm" / "engines").iterdir()]) == 1

    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        assert open_here(folder, 1).engine.name != quick, "every worker takes the same, whatever it measures"
    assert "not noted" in caplog.text


def test_processes_that_choose_at_once_agree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each measures something else; the first note decides, and no reader sees a part of one."""
    both, turn = threading.Barrier(2), iter(BOTH)

    def measured(answers: Mapping[str, object], checked: Checked) -> dict[str, float]:
        own = next(turn)
        both.wait(60)
        return {name: 1.0 if name == own else 2.0 for name in answers}

    elsewhere(monkeypatch, {})
    monkeypatch.setattr(selection, "processor_ms", measured)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: open_here(folder, 1).engine.name, range(2))
    assert first == second == open_here(folder, 1).engine.name
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_note_is_written_where_files_cannot_be_linked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, timed = prefer_other(folder, monkeypatch)
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(PermissionError("no links")))
    assert [open_here(folder, 1).engine.name for _ in range(2)] == [quick, quick] and len(timed) == 1


@pytest.mark.parametrize("content", ["[]", '{"chosen": "torch", "digest": "x"}', "cut", None, "of another"])
def test_a_broken_note_is_named_and_not_used(
    content: str | None,
    deployed: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = Path(shutil.copytree(deployed[BOTH[0]], tmp_path / "copy"))
    quick, timed = prefer_other(folder, monkeypatch)
    open_here(folder, 1)
    (note,) = folder.glob(f"{CHOICE}*")
    whole = note.read_text()
    if content is None:
        (tmp_path / "elsewhere").write_text(whole)
        note.unlink()
        note.symlink_to(tmp_path / "elsewhere")
    elif content == "of another":
        write_json(folder / FACTS, facts_of(folder) | {"version": "2"})
        (folder / RECORD).unlink()
    else:
        note.write_text(whole[:-9] if content == "cut" else content)
    timed.clear()
    opened = [open_here(folder, 1).engine.name for _ in range(2)]
    assert f"{note} is not used" in caplog.text and "Traceback" not in caplog.text
    # The list of engines is of this deployment, too.
    assert opened == [quick, quick] if content != "of another" else timed == []
    assert len(timed) == (content != "of another"), "chosen again once, and noted in the user's cache"


@pytest.mark.parametrize("name", BOTH)
def test_a_file_that_the_check_needs_is_named(name: str, deployed: Mapping[str, Path], tmp_path: Path) -> None:
    def copied(number: int) -> Path:
        copy = Path(shutil.copytree(deployed[name], tmp_path / str(number)))
        (copy / RECORD).unlink()
        return copy

    for number, needed in enumerate((CHECK, ONNX)):
        folder = copied(number)
        (folder / needed).rename(tmp_path / needed)
        with pytest.raises(MissingFileError, match=f"must have a {needed}"):
            open_here(folder, 1)
        (folder / needed).symlink_to(tmp_path / needed)
        with pytest.raises(ModelError, match=f"{needed}, which is a link"):
            open_here(folder, 1)
    damaged = Path(shutil.copytree(deployed[name], tmp_path / "damaged"))
    (damaged / CHECK).write_bytes((damaged / CHECK).read_bytes()[:-4])
    with pytest.raises(Damaged, match=CHECK):
        open_here(damaged, 1)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.integration)])
def test_whatever_is_broken_in_a_deployment_is_named(
    seed: int, deployed: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    elsewhere(monkeypatch, dict.fromkeys(BOTH, 1.0))
    own = [Broken(file, way, "none") for file in (CHECK, FACTS) for way in ("cut", "noise", "empty")]
    own += islice(attacks(deployed[BOTH[0]], rng), 30 * seed + 2)
    for number, attack in enumerate(own):
        place = tmp_path / str(number)
        place.mkdir()
        model = break_copy(deployed[BOTH[number % 2]], place / "model", attack, rng)
        status, told = said_by_predict(model, place)
        assert judged(status, told, model) in ("served", "refused"), f"{attack}: {told}"


def test_check_rows_of_another_version_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, {})
    Checked([np.array([3, 4], np.int32)], [[]], np.zeros((1, 2), np.float32)).save(folder)
    (folder / RECORD).unlink()
    with pytest.raises(ModelError, match=rf"{CHECK}: answers must have the shape \(1, 3\), got \(1, 2\)"):
        open_here(folder, 1)


def test_a_deployment_of_an_earlier_version_opens(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = facts_of(folder)["engine"]
    elsewhere(monkeypatch, {})
    for name in (CHECK, ENGINES, RECORD):
        (folder / name).unlink()
    write_json(folder / FACTS, {"engine": "onnxruntime"})
    assert own and open_here(folder, 1).engine.name == "onnxruntime" and not caplog.messages


def test_a_deployment_that_cannot_be_checked_elsewhere_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Random tokens were beyond the limits at its export already."""
    own = facts_of(folder)
    for name in (CHECK, ENGINES, RECORD):
        (folder / name).unlink()
    write_json(folder / FACTS, own | {"limits": {}})
    assert open_here(folder, 1).engine.name == own["engine"] and not caplog.messages
    elsewhere(monkeypatch, {})
    assert open_here(folder, 1).engine.name == own["engine"]
    (line,) = caplog.messages
    assert f"this is {ELSEWHERE}" in line and "not checked here" in line


def test_a_store_that_cannot_be_written_offers_no_other_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, content: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (folder / ENGINES).unlink()
    both = {name: Path(shutil.copytree(folder, folder.with_name(name))) for name in BOTH}
    monkeypatch.setattr(selection, "write_json", refuse)
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        offer_engines(both)
    assert caplog.messages == [f"no {ENGINES} in {name}: Permission denied" for name in BOTH]


def test_an_engine_that_answers_otherwise_here_is_not_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick, _ = prefer_other(folder, monkeypatch)
    right = Checked.answers
    kind = type(find_engine(quick))
    opened = kind.open
    monkeypatch.setattr(kind, "open", lambda self, *rest: lambda *row: opened(self, *rest)(*row) + 9)
    with caplog.at_level(logging.INFO, "clinlm.engines.selection"):
        assert open_here(folder, 1).engine.name != quick
    assert f"{quick} refused: largest difference" in caplog.text
    (note,) = folder.glob(f"{CHOICE}*")
    note.unlink()
    monkeypatch.setattr(Checked, "answers", lambda self, answer: right(self, answer) * np.nan)
    with pytest.raises(ModelError, match=f"must answer on this processor as its artifact does.*{ELSEWHERE[:5]}"):
        open_here(folder, 1)


def test_an_engine_that_fails_here_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, _ = prefer_other(folder, monkeypatch)

    def fail(self: object, folder: Path, threads: int | None = None) -> None:
        raise RuntimeError("illegal instruction")

    with monkeypatch.context() as patch:
        patch.setattr(type(find_engine(quick)), "open", fail)
        assert open_here(folder, 1).engine.name != quick
    for name in BOTH:
        monkeypatch.setattr(type(find_engine(name)), "open", fail)
    with pytest.raises(ModelError, match=f"{folder} must hold a network that engine="):
        open_here(folder, 1)


def test_a_file_beside_the_record_names_no_class_to_import(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = facts_of(folder)["engine"]
    elsewhere(monkeypatch, dict.fromkeys(BOTH, 1.0))
    for offered in (["foreign.Engine", "torch", "export", "", {}], "openvino", 7, {"openvino": 1}):
        identity = selection.digest(facts_of(folder))
        write_json(folder / ENGINES, selection._with_digest({"engines": offered}, identity))
        assert open_here(folder, 1).engine.name == own


@pytest.mark.parametrize("folder", BOTH, indirect=True)
def test_an_engine_that_is_not_installed_is_not_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, (quick, _) = facts_of(folder)["engine"], prefer_other(folder, monkeypatch)
    assert open_here(folder, 1).engine.name == quick
    for missing, left in ((quick, own), (own, quick)):
        with monkeypatch.context() as patch:
            patch.setattr(type(find_engine(str(missing))), "missing", lambda self: "a package")
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
    assert all(find_engine(name).files for name in engine_names()), "what is mandatory in a deployment"


def test_a_graph_beside_the_exported_files_is_not_opened(folder: Path) -> None:
    """What the record does not have is not verified."""
    (folder / "openvino_model.xml").write_text("not this")
    ids = np.array([[3, 5]])
    found = open_model(folder, 1).answer(ids, np.ones_like(ids))
    np.testing.assert_allclose(found, bag_of_words(ids, np.ones_like(ids)), atol=1e-5)
