"""The command line as a user meets it: processes of their own, in an empty folder, with a network of one layer."""

import csv
import json
import shlex
from collections import Counter
from pathlib import Path

import pytest
from support.commands import PRUNED, SMALL, clinlm

from clinlm.cli.run import suggestion
from clinlm.config.settings import compose
from clinlm.config.validation import CONF


def stages(folder: Path) -> dict[str, dict[str, bool]]:
    """Return, for every job in a folder of runs, whether each of its stages came out of the store."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("run.json"))]
    return {job["pipeline"]: {stage["name"]: stage["cached"] for stage in job["stages"]} for job in jobs}


@pytest.fixture(scope="module")
def sweep(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `-m pipeline=a,b` has run, and what it printed."""
    folder = tmp_path_factory.mktemp("user")
    done = clinlm(folder, *SMALL, *PRUNED, f"task.root={notes_csv}", "logger=csv", "-m", "pipeline=a,b")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.integration
def test_a_sweep_shares_the_teacher_and_ends_with_one_table(sweep: tuple[Path, str]) -> None:
    folder, printed = sweep
    assert stages(folder / "outputs/sweeps") == {
        "a": {"teacher": False, "student": False},
        "b": {"teacher": True, "student": True, "prune_student": False, "recover_student": False},
    }
    built = Counter(path.name.rpartition("-")[0] for path in (folder / "outputs/store").glob("*-*") if path.is_dir())
    assert set(built.values()) == {1} and {"teacher", "student", "prune_student", "recover_student"} <= set(built)
    tables = [path.parent for path in (folder / "outputs/sweeps").rglob("table.md")]
    assert len(tables) == 3, "one a pipeline, and one of them all"
    for table in (printed, *((place / "table.md").read_text(encoding="utf-8") for place in tables)):
        assert "teacher" in table and "TF-IDF" in table


@pytest.mark.integration
def test_a_second_run_builds_nothing_and_a_stage_can_be_taken_out(sweep: tuple[Path, str], notes_csv: Path) -> None:
    folder, _ = sweep
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    store = f"store={folder / 'outputs/store'}"
    ablation = ["pipeline=b", "~stages.recover_student", "logger=none", store]
    done = clinlm(elsewhere, *SMALL, *PRUNED, f"task.root={notes_csv}", *ablation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stages(elsewhere) == {"b": {"teacher": True, "student": True, "prune_student": True}}
    told = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"artifact", "report", "next"} <= set(told)
    assert "prune_student-" in told["artifact"]
    assert (elsewhere / told["report"].split()[1]).is_file()


@pytest.mark.integration
def test_no_note_is_printed_or_written_outside_the_store(sweep: tuple[Path, str], notes_csv: Path) -> None:
    folder, printed = sweep
    with notes_csv.open(encoding="utf-8", newline="") as file:
        notes = [row["text"] for row in csv.DictReader(file)]
    files = [path for path in (folder / "outputs/sweeps").rglob("*") if path.is_file()]
    written = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)  # a plot is no UTF-8
    assert not [note for note in notes if note in printed + written]


def test_what_is_mistyped_ends_at_once(tmp_path: Path) -> None:
    done = clinlm(tmp_path, "prune.ration=0.3")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "prune.ratio" in done.stderr.partition("did you mean")[2]
    assert not (tmp_path / "outputs/store").exists(), "nothing was begun"


def test_the_configuration_can_be_read(tmp_path: Path) -> None:
    shown = clinlm(tmp_path, "--cfg", "job", "pipeline=baseline", "seed=3")
    assert (
        shown.returncode == 0 and "seed: 3" in shown.stdout and "_target_: clinlm.pipeline.stage.Stage" in shown.stdout
    )


def test_the_next_command_keeps_the_settings_that_its_pipelines_read() -> None:
    known = {path.stem for path in (CONF / "pipeline").glob("*.yaml")}
    config = compose("config", ["task=symptoms", "pipeline=low_rank_svd", "factorize.rank=3", "quantize=static"])
    for pipeline in known:
        typed = ["task=symptoms", f"pipeline={pipeline}", "epochs=2", "seed=3", "gate=high", "gate.judge=point"]
        only = ["factorize.rank=3", "quantize=static", "stages.factorize.epochs=0", "~stages.recover"]
        words = shlex.split(suggestion(pipeline, [*typed, *only], config))
        assert words[:3] == ["clinlm", "task=symptoms", "epochs=2"] and not {"seed=3", *typed[4:]} & {*words}
        assert pipeline in "abc" or not {*only} & {*words}
        (named,) = [word.partition("=")[2] for word in words if word.startswith("pipeline=")]
        assert set(named.split(",")) <= known
