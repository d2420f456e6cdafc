"""Laws of kept digests of code: what is read is what would be computed, and nothing else is kept."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from clinlm.config.validation import CONF
from clinlm.store import kept_sources, own_code, sources
from clinlm.store.kept_sources import reached_code
from clinlm.store.sources import named_targets

GROUPS = ("adapter", "augmentation", "ensemble", "hidden_state_loss", "optimizer")


@functools.cache
def chosen() -> list[dict[str, str]]:
    """Settings that name the classes of several groups."""
    files = [path for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
    named = {name for path in files for name in named_targets(OmegaConf.to_container(OmegaConf.load(path)))}
    return [{"_target_": name} for name in sorted(named) if name.startswith(("clinlm.", "callbacks."))]


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what this process runs, to be changed; no file is looked at."""
    state = {"code": "code", "kept": True}
    monkeypatch.setattr(kept_sources, "running_code", lambda: state["code"])
    monkeypatch.setattr(kept_sources, "may_keep", lambda: state["kept"])
    return state


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return what was computed since, and not read."""
    found = []

    def computing(settings: Any, code: Any = ()) -> dict[str, str]:
        found.append({*code})
        return sources.sources(settings, code)

    monkeypatch.setattr(kept_sources, "sources", computing)
    return found


def test_what_is_read_is_what_is_computed(tmp_path: Path, computed: list[set[str]]) -> None:
    first, *others = chosen()
    questions = [*chosen(), [first, *others[:3]], [*others[:3], first]]  # the last two are one
    expected = [sources.sources(one) for one in questions]
    for _ in range(2):
        with kept_sources.kept_sources(tmp_path):
            assert [reached_code(one) for one in questions] == expected
            assert reached_code(first, ["clinlm.tasks.encoded.Encoded"]) == sources.sources(
                first, ["clinlm.tasks.encoded.Encoded"]
            )
        assert len(computed) == len(questions), "the second time all are read"
    assert reached_code(first) == expected[0] and len(computed) == len(questions) + 1, "outside nothing is kept"


def test_other_code_computes_its_own(tmp_path: Path, disk: dict[str, Any], computed: list[set[str]]) -> None:
    one = chosen()[0]
    for code, kept, times in (
        *(("code", False, 1), ("code", True, 2), ("code", True, 2)),  # edited while it ran: not kept
        *(("other", True, 3), ("code", True, 4), ("", True, 5), ("", True, 6), ("code", True, 6)),
    ):
        disk |= {"code": code, "kept": kept}
        with kept_sources.kept_sources(tmp_path):
            reached_code(one)
        assert len(computed) == times, (code, kept)


def test_code_of_others_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[set[str]]) -> None:
    """A user's module may change at any time, one that is not found may be there tomorrow, a library become theirs."""
    (tmp_path / "zz_mylab.py").write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    questions = [{"_target_": name} for name in ("zz_mylab.Mine", "zz_absent.Mine", "torch.nn.Linear")]
    questions.append([questions[0], chosen()[0]])  # type: ignore[arg-type]
    expected = [sources.sources(one) for one in questions]
    assert [len(one) > 0 for one in expected] == [True, False, False, True]
    for _ in range(2):
        with kept_sources.kept_sources(tmp_path / "store"):
            assert [reached_code(one) for one in questions] == expected
    own = chosen()[0]["_target_"]
    assert computed.count({own}) == 1 and len(computed) == 2 * len(questions) + 1, "ours beside theirs is read"
    assert [*kept_sources._read(tmp_path / "store" / "code.json")] == [own]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "code.json"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_no_damaged_file_is_read(whole: Path, data: st.DataObject) -> None:
    found = {
        "clinlm.a.B": {"clinlm.a:B": "0123456789ab", "clinlm.b:C": "ba9876543210"},
        "x": {"clinlm.b:C": "ba9876543210"},
    }
    kept_sources._write(whole, found)
    assert kept_sources._read(whole) == found
    content = whole.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[place] ^ data.draw(st.integers(1, 255))])
    for damaged in (content[:place], content[:place] + flipped + content[place + 1 :], content + flipped):
        whole.write_bytes(damaged)
        assert kept_sources._read(whole) == {}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a package that is the only one of this project, written before this process began."""
    folder = tmp_path / "zz_own"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/one.py", "inner/words.json"):
        (folder / name).write_text(f"# {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(own_code, "OWN_PACKAGES", ("zz_own.",))
    monkeypatch.setattr(own_code, "STARTED", float("inf"))
    own_code.running_code.cache_clear()
    yield folder
    monkeypatch.undo()
    own_code.running_code.cache_clear()


def appended(path: Path) -> Callable[[], Any]:
    return lambda: path.write_text(path.read_text() + "# more\n")


def test_any_change_of_what_runs_is_other_code(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, inner = package.parent, package / "inner"
    changes: list[Callable[[], Any]] = [
        *(appended(package / "__init__.py"), appended(inner / "one.py"), appended(inner / "words.json")),
        *(
            (inner / "new.py").touch,
            lambda: (inner / "new.py").rename(inner / "newer.py"),
            (inner / "words.json").unlink,
        ),
        lambda: (inner / "one.py").write_text((inner / "one.py").read_text().replace("one", "eno")),
        *(
            (place / "library-1.0.dist-info").mkdir,
            lambda: (place / "library-1.0.dist-info").rename(place / "library-1.1.dist-info"),
        ),
        lambda: monkeypatch.syspath_prepend(place / "elsewhere"),
        lambda: monkeypatch.setattr(own_code.platform, "python_version", lambda: "3.99"),
    ]
    found = [own_code.running_code()]
    assert own_code.may_keep()
    for number, change in enumerate(changes):
        change()
        assert own_code.running_code() == found[-1], "a process runs what it imported"
        assert not own_code.may_keep(), f"change {number}"
        own_code.running_code.cache_clear()
        found.append(own_code.running_code())
        assert own_code.may_keep()
    assert len({*found}) == len(found)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.pyc").touch()  # Python's own
    assert own_code.may_keep()


def test_a_file_written_since_the_start_makes_what_runs_unknown(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules imported before it was written are not what lies there now."""
    own_code.running_code.cache_clear()
    newest = max(path.stat().st_ctime for path in package.rglob("*.*"))
    for started, known in ((newest + 1, True), (newest - 1, False)):
        monkeypatch.setattr(own_code, "STARTED", started)
        own_code.running_code.cache_clear()
        assert (own_code.running_code() != "", own_code.may_keep()) == (known, known)
