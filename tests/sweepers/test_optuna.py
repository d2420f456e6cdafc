"""The optimising sweeper: what it reads, that a killed sweep goes on, and what it does with jobs that fail."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.postgres import started

from clinlm.config.errors import ConfigError, DataError
from clinlm.report.pareto_front import front
from clinlm.sweepers import space
from clinlm.sweepers.optuna import Optuna
from clinlm.sweepers.shared_study import SharedStudy, open_study, write_study
from clinlm.sweepers.study_storage import open_storage

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

ROOT = Path(__file__).parents[2]
APP = """
import os, signal, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from clinlm.sweepers import optuna

@hydra.main(version_base="1.3", config_path=".", config_name="app")
def job(config):
    number = HydraConfig.get().job.num
    with open("begun.txt", "a") as file:
        print(number, config.x, config.y, config.z, file=file)
    while os.environ.get("HELD") == str(number) and len(Path("begun.txt").read_text().splitlines()) < 6:
        time.sleep(0.05)
    if os.environ.get("KILLED_AT") == str(number):
        os.kill(os.getpid(), signal.SIGKILL)
    if config.x < float(os.environ.get("FAILS_BELOW", 0)):
        raise ValueError("x is too small")
    return {"quality": config.x * (4 - config.y), "bytes": config.x + config.y, "latency_ms": float(config.y)}

optuna.register_optuna()
job()
"""
CONFIG = f"""
hydra:
  searchpath: ["file://{ROOT}/conf"]
  sweep: {{dir: "sweeps/${{now:%H-%M-%S.%f}}"}}
  sweeper: {{params: {{z: "choice(a b,[c],d)", x: "0.5"}}}}
  job_logging: {{formatters: {{simple: {{format: "%(message)s"}}}}}}
seed: 0
x: 0.5
y: 1
z: none
"""
SEARCH = ("x=interval(0,1)", "y=range(0,4)")


def begin(folder: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
    """Begin to sweep a toy application in `folder`. HELD is the number of a trial that ends after all have begun."""
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / "app.yaml").write_text(CONFIG, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "app.py", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", *overrides],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep(folder: Path, *overrides: str, **environment: str) -> tuple[int, str]:
    """Sweep a toy application in `folder`; returns how it ended and what it said."""
    running = begin(folder, *overrides, **environment)
    said, _ = running.communicate(timeout=300)
    return running.returncode, said


def begun(folder: Path) -> list[int]:
    """The numbers of the trials that began, in order."""
    path = folder / "begun.txt"
    return [int(line.split()[0]) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def told(folder: Path) -> dict[str, Any]:
    """What the last sweep in `folder` left."""
    content: dict[str, Any] = json.loads(max(folder.glob("sweeps/*/study.json")).read_text(encoding="utf-8"))
    return content


def read(*overrides: str) -> space.Space:
    return space.read_space({}, overrides)


@pytest.mark.parametrize(
    ("typed", "drawn"),
    [
        ("interval(0.1,0.8)", optuna.distributions.FloatDistribution(0.1, 0.8)),
        ("interval(0,1)", optuna.distributions.FloatDistribution(0, 1)),
        ("int(interval(1,9))", optuna.distributions.IntDistribution(1, 9)),
        ("tag(log, interval(1e-5,1e-3))", optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)),
        ("tag(log, int(interval(1,64)))", optuna.distributions.IntDistribution(1, 64, log=True)),
        ("range(1,10,2)", optuna.distributions.IntDistribution(1, 9, step=2)),
        ("range(9,0,-2)", optuna.distributions.IntDistribution(1, 9, step=2)),
        ("range(0.1,0.5,0.1)", optuna.distributions.FloatDistribution(0.1, 0.4, step=0.1)),
        ("choice(8,16,32)", optuna.distributions.CategoricalDistribution(("8", "16", "32"))),
        ("a,null,[1,2]", optuna.distributions.CategoricalDistribution(("a", "null", "[1,2]"))),
    ],
)
def test_the_override_grammar_says_what_values_are_drawn_from(typed: str, drawn: object) -> None:
    assert read(f"a.b={typed}").distributions == {"a.b": drawn}


def test_the_command_line_wins_and_what_does_not_vary_stays_as_typed() -> None:
    found = space.read_space({"x": "1,2", "y": 3, "w": None}, ["+z=a,'b c'", "x='1,2'", "~stages.recover"])
    assert found.constants == ("x='1,2'", "y=3", "w=null", "~stages.recover")
    assert list(found.distributions) == ["+z"]
    typed = found.overrides({"+z": found.probes()[1][-1].removeprefix("+z=")})
    assert OverridesParser.create().parse_overrides(typed)[-1].value() == "b c"


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-05, 5e-324, 0.123456789012345678, 1e22])
def test_a_number_survives_being_typed(number: float) -> None:
    line = read("x=interval(0,1)").overrides({"x": number})
    assert OverridesParser.create().parse_overrides(line)[0].value() == number


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("x=1", "must vary a setting"),
        ("x=range(3,3)", "must contain a value"),
        ("x=interval(2,1)", "lower bound first"),
        ("x=tag(log,interval(0,1))", "above 0"),
        ("x=tag(log,choice(1,2))", "only ranges may have a tag"),
        ("x=tag(lgo,interval(1,2))", "tag log"),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused(typed: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(typed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep ran to its end."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = sweep(folder, *SEARCH)
    assert code == 0, said
    return folder


def trials(study: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in study["trials"] if one["state"] == "COMPLETE"]


def test_the_front_is_that_of_brute_force_and_its_commands_run(whole: Path) -> None:
    study = told(whole)
    values = np.array([[one["values"][name] for name in study["objectives"]] for one in trials(study)])
    ways = [way == "maximize" for way in study["objectives"].values()]
    kept = front(values, ways)
    assert study["front"] == [one["number"] for one, on in zip(trials(study), kept, strict=True) if on]
    for one in trials(study):
        assert shlex.split(one["command"]) == ["clinlm", *one["overrides"]]
        assert Path(one["folder"]).name == str(one["number"]), "jobs have the numbers of their trials"
        given = (Path(one["folder"]) / ".hydra/overrides.yaml").read_text(encoding="utf-8")
        assert f"x={one['params']['x']}" in given
    assert {one["params"]["z"] for one in trials(study)} <= {"a\\ b", "[c]", "d"}


@pytest.mark.integration
def test_a_killed_sweep_typed_again_goes_on_as_if_nothing_had_been(whole: Path, tmp_path: Path) -> None:
    code, _ = sweep(tmp_path, *SEARCH, KILLED_AT="3")
    assert code == -signal.SIGKILL
    code, said = sweep(tmp_path, *SEARCH)
    assert code == 0, said
    study = told(tmp_path)
    assert [one["params"] for one in trials(study)] == [one["params"] for one in trials(told(whole))]
    assert begun(tmp_path) == [*range(7)], "3 was lost, and is tried again as 4"
    assert [one["number"] for one in trials(study)] == [0, 1, 2, 4, 5, 6]
    assert not [*tmp_path.glob("outputs/studies/.*.*.*")], "the lock of the dead process is gone"
    assert len({Path(one["folder"]).parent for one in trials(study)}) == 2, "trials of the killed sweep are told too"
    code, said = sweep(tmp_path, *SEARCH)
    assert code == 0 and told(tmp_path) == study, "nothing is left to do"


@pytest.mark.integration
def test_a_slow_trial_does_not_hold_the_others(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra joblib is not installed")
    code, said = sweep(tmp_path, *SEARCH, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", HELD="0")
    assert code == 0, said
    assert sorted(begun(tmp_path)) == [one["number"] for one in trials(told(tmp_path))] == [*range(6)]


@pytest.mark.integration
@pytest.mark.parametrize("server", [False, True], ids=["sqlite", "postgresql"])
def test_the_same_command_twice_at_once_is_one_study(server: bool, tmp_path: Path) -> None:
    """Trial 0 ends after all others have begun, so that both processes run some."""
    if server:
        pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    with started() if server else nullcontext() as running:
        storage = [] if running is None else ["hydra.sweeper.storage=STUDIES"]
        given = {} if running is None else {"STUDIES": running.address}
        both = [begin(tmp_path, *SEARCH, *storage, HELD="0", **given) for _ in range(2)]
        said = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    studies = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("sweeps/*/study.json")]
    assert len(studies) == 2 and studies[0] == studies[1]
    assert [one["number"] for one in trials(studies[0])] == sorted(begun(tmp_path)), "no trial twice, none too many"
    assert len(trials(studies[0])) == 6 and len({one["params"]["x"] for one in trials(studies[0])}) == 6
    assert len({Path(one["folder"]).parent for one in trials(studies[0])}) == 2
    if running is not None:
        assert running.password not in "".join(said), "nor in any file"
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in written if running.password.encode() in path.read_bytes()]


@pytest.mark.integration
def test_a_trial_of_a_killed_process_is_taken_up_by_one_that_runs(tmp_path: Path) -> None:
    first = begin(tmp_path, *SEARCH, "hydra.sweeper.n_trials=3", HELD="0")
    while not begun(tmp_path):
        time.sleep(0.1)
    second = begin(tmp_path, *SEARCH, "hydra.sweeper.n_trials=3")
    while len(begun(tmp_path)) < 3:
        time.sleep(0.1)
    first.kill()
    first.communicate()
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    lines = (tmp_path / "begun.txt").read_text(encoding="utf-8").splitlines()
    assert lines[3].split()[1:] == lines[0].split()[1:], "the same settings"
    assert [one["number"] for one in trials(told(tmp_path))] == [1, 2, 3]


@pytest.mark.integration
def test_a_process_elsewhere_without_a_sign_of_life_is_dead(tmp_path: Path) -> None:
    drawn = {"x": optuna.distributions.FloatDistribution(0, 1)}
    settings = (tmp_path, "own", {"quality": "maximize"}, {"settings": "x"})

    def held(study: SharedStudy) -> list[dict[str, Any]]:
        return [trial.params for trial in study.trials()]

    with open_study(*settings, heartbeat_s=1) as study, open_study(*settings, heartbeat_s=1) as other:
        mine = study.ask(drawn)
        assert mine is not None
        mine.set_user_attr("owner", ["elsewhere", "own.1"])
        for _ in range(4):  # it lives: seconds pass, and its heart beats
            time.sleep(1)
            other.take_up()
            assert other.ask(drawn, 1) is None
        study._ended.set()
        while (again := other.ask(drawn, 1)) is None:
            time.sleep(0.5)
            other.take_up()
        assert again.params == mine.params and held(other) == [mine.params]
        study.complete(mine, [1.0], "late")
        assert not other.finished(), "what came too late does not count"


@pytest.mark.integration
def test_a_trial_of_which_process_after_process_dies_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedStudy, "_lives", lambda *_: False)
    drawn, settings = {"x": optuna.distributions.FloatDistribution(0, 1)}, (tmp_path, "own", {"a": "maximize"}, {})
    with open_study(*settings) as study:
        assert (first := study.ask(drawn, 2)) is not None
        study.start(first, ["x=own"])  # given back at the end, which is no death
    with open_study(*settings) as study, open_study(*settings) as other:
        for _ in range(3):
            assert not other.finished() and (trial := study.ask(drawn, 2)) is not None and trial.params == first.params
            study.start(trial, ["x=own"])
            other.take_up()
        told = write_study(other, {"a": "maximize"}, "", tmp_path)["trials"]
        assert [(one["state"], one["params"], one["overrides"]) for one in told] == [("FAIL", first.params, ["x=own"])]
        assert "its process died 3 times" in told[0]["error"]
        assert (new := study.ask(drawn, 2)) is not None and new.params != first.params, "the study goes on"
        assert study.ask(drawn, 2) is None, "a trial that failed counts"


def test_a_study_keeps_to_its_problem(whole: Path) -> None:
    name = next(whole.glob("outputs/studies/*.db")).stem
    code, said = sweep(whole, "x=interval(0,2)", f"hydra.sweeper.study_name={name}")
    assert code == 1 and "must be comparable" in said and "search space" in said


def test_a_damaged_study_is_named(tmp_path: Path) -> None:
    def opened() -> None:
        with open_study(tmp_path, "own", {"quality": "maximize"}, {"settings": "x"}) as study:
            study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})

    opened()
    opened()
    path = tmp_path / "own.db"
    whole = path.read_bytes()
    for content in (b"", b"no database", whole[: len(whole) // 2]):
        path.write_bytes(content)
        told = r"own\.db must be a study .* damaged .*study_name=NAME"
        with pytest.raises(DataError, match=told) if content else nullcontext():
            opened()
    path.write_bytes(whole)
    opened()


def test_a_failed_trial_is_named_and_counts(tmp_path: Path) -> None:
    code, said = sweep(tmp_path, *SEARCH, "hydra.sweeper.max_failure_rate=1", FAILS_BELOW="0.5")
    assert code == 0, said
    study = told(tmp_path)
    failed = [one for one in study["trials"] if one["state"] == "FAIL"]
    assert failed and len(study["trials"]) == 6
    assert all(one["params"]["x"] < 0.5 and one["error"] == "x is too small" for one in failed)
    assert not {one["number"] for one in failed} & set(study["front"])
    assert f"trials of the study failed: {', '.join(str(one['number']) for one in failed)}" in said


def test_too_many_failures_end_the_sweep(tmp_path: Path) -> None:
    code, said = sweep(tmp_path, *SEARCH, FAILS_BELOW="2")
    assert code == 1 and "max_failure_rate" in said
    assert len(told(tmp_path)["trials"]) == 2, "more than a fifth of 6"


def test_an_objective_that_jobs_do_not_return_is_an_error(tmp_path: Path) -> None:
    objectives = ["+hydra.sweeper.objectives.size=minimize", "hydra.sweeper.objectives.bytes=null"]
    code, said = sweep(tmp_path, *SEARCH, *objectives)
    assert code == 1 and "must return the objectives size, got bytes, latency_ms, quality" in said


def test_a_mistyped_setting_ends_the_sweep_before_there_is_a_study(tmp_path: Path) -> None:
    code, said = sweep(tmp_path, "x=interval(0,1)", "xx=1,2")
    assert code == 1 and "Could not override 'xx'" in said and not (tmp_path / "outputs").exists()


def test_a_study_of_latencies_does_not_begin_where_they_may_be_left_out(tmp_path: Path) -> None:
    code, said = sweep(tmp_path, "x=interval(0,1)", "+report.busy=refuse")
    assert code == 1 and "set report.busy=mark" in said and not (tmp_path / "outputs").exists()


def test_a_pruner_judges_nothing_but_quality() -> None:
    with pytest.raises(
        ConfigError, match=r"quality must be the only objective .* set hydra\.sweeper\.objectives\.bytes=null"
    ):
        Optuna({}, {"quality": "maximize", "bytes": "minimize"}, pruner="MedianPruner")


@pytest.mark.integration
def test_several_trials_at_a_time_need_a_launcher_that_starts_processes(tmp_path: Path) -> None:
    code, said = sweep(tmp_path, *SEARCH, "hydra.sweeper.n_jobs=2")
    assert code == 1 and "add hydra/launcher=joblib hydra.launcher.n_jobs=2" in said
    assert not (tmp_path / "outputs").exists()


def test_a_storage_is_named_and_never_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIES", "nowhere")
    for storage, said in (
        ("postgresql://me:hidden@host/db", "is not shown"),
        ("NOT_SET", "it is not set"),
        ("STUDIES", "it is no URL"),
    ):
        with pytest.raises(ConfigError, match=said) as raised:
            open_storage(tmp_path, "own", storage)
        assert "hidden" not in str(raised.value)
