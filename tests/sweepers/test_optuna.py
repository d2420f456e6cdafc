"""The optimising sweeper: what it reads, that a killed sweep goes on, and what it does with jobs that fail."""

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser

from clinlm.config.errors import DataError
from clinlm.report.pareto_front import front
from clinlm.sweepers import space
from clinlm.sweepers.study import open_study

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

ROOT = Path(__file__).parents[2]
APP = """
import os, signal
import hydra
from hydra.core.hydra_config import HydraConfig
from clinlm.sweepers import optuna

@hydra.main(version_base="1.3", config_path=".", config_name="app")
def job(config):
    number = HydraConfig.get().job.num
    with open("begun.txt", "a") as file:
        print(number, config.x, config.y, config.z, file=file)
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


def sweep(folder: Path, *overrides: str, **environment: str) -> tuple[int, str]:
    """Sweep a toy application in `folder`; returns how it ended and what it said."""
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / "app.yaml").write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", *overrides],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


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
    """A folder in which a sweep ran to its end, two trials at a time."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = sweep(folder, *SEARCH, "hydra.sweeper.n_jobs=2")
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
    search = (*SEARCH, "hydra.sweeper.n_jobs=2")
    code, _ = sweep(tmp_path, *search, KILLED_AT="3")
    assert code == -signal.SIGKILL
    code, said = sweep(tmp_path, *search)
    assert code == 0, said
    study = told(tmp_path)
    assert [one["params"] for one in trials(study)] == [one["params"] for one in trials(told(whole))]
    begun = [line.split()[0] for line in (tmp_path / "begun.txt").read_text(encoding="utf-8").splitlines()]
    assert begun == ["0", "1", "2", "3", "4", "5", "6", "7"], "2 and 3 were lost, and are tried again as 4 and 5"
    assert [one["number"] for one in trials(study)] == [0, 1, 4, 5, 6, 7]
    assert len({Path(one["folder"]).parent for one in trials(study)}) == 2, "trials of the killed sweep are told too"
    code, said = sweep(tmp_path, *search)
    assert code == 0 and told(tmp_path) == study, "nothing is left to do"


def test_a_study_keeps_to_its_problem_and_to_one_process(whole: Path) -> None:
    name = next(whole.glob("outputs/studies/*.db")).stem
    code, said = sweep(whole, "x=interval(0,2)", f"hydra.sweeper.study_name={name}")
    assert code == 1 and "must be comparable" in said and "search space" in said
    with FileLock(whole / f"outputs/studies/.{name}.lock"):
        code, said = sweep(whole, *SEARCH, "hydra.sweeper.n_trials=9")
    assert code == 1 and "open in one process only" in said


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
