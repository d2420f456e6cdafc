"""The command line as a user meets it: processes of their own, in an empty folder, with a network of one layer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = [
    "task=table",
    "task.corpus.id=id",
    "task.corpus.group=group",
    "task.max_tokens=24",
    "model@teacher=tiny",
    "teacher.vocabulary=150",
    "teacher.config.max_position_embeddings=32",
    "student.layers=1",
    "epochs=1",
    "batch_size=8",
    "prune.skip_std=0",
    "prune.ratio=0.25",
    "trainer=cpu",
    "precision=32-true",
    "report.resamples=20",
    "report.latency_documents=3",
    "report.latency_passes=1",
]
"""Of a run that takes seconds. The table's path and the store are added."""


def clinlm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m clinlm` in `folder`, in which nothing of the project lies."""
    environment = {"PYTHONPATH": str(ROOT), "CI": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "clinlm", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def stages(folder: Path) -> dict[str, dict[str, bool]]:
    """Return, for every job in a folder of runs, whether each of its stages came out of the store."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("run.json"))]
    return {job["pipeline"]: {stage["name"]: stage["cached"] for stage in job["stages"]} for job in jobs}


@pytest.fixture(scope="module")
def sweep(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `-m pipeline=a,b` has run, and what it printed."""
    folder = tmp_path_factory.mktemp("user")
    done = clinlm(folder, *SMALL, f"task.root={notes_csv}", "logger=csv", "-m", "pipeline=a,b")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_a_sweep_shares_the_teacher_and_ends_with_one_table(sweep: tuple[Path, str]) -> None:
    folder, printed = sweep
    assert stages(folder / "outputs/sweeps") == {
        "a": {"teacher": False, "student": False},
        "b": {"teacher": True, "student": True, "prune_student": False, "recover_student": False},
    }
    built = sorted(path.name.rpartition("-")[0] for path in (folder / "outputs/store").glob("*-*") if path.is_dir())
    assert built == ["prune_student", "recover_student", "student", "task", "teacher"]
    tables = [path.parent for path in (folder / "outputs/sweeps").rglob("table.md")]
    assert len(tables) == 3, "one a pipeline, and one of them all"
    for table in (printed, *((place / "table.md").read_text(encoding="utf-8") for place in tables)):
        assert "teacher" in table and "TF-IDF" in table


def test_a_second_run_builds_nothing_and_a_stage_can_be_taken_out(sweep: tuple[Path, str], notes_csv: Path) -> None:
    folder, _ = sweep
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    store = f"store={folder / 'outputs/store'}"
    ablation = ["pipeline=b", "~stages.recover_student", "logger=none", store]
    done = clinlm(elsewhere, *SMALL, f"task.root={notes_csv}", *ablation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stages(elsewhere) == {"b": {"teacher": True, "student": True, "prune_student": True}}
    told = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"artifact", "report", "next"} <= set(told)
    assert "prune_student-" in told["artifact"]
    assert (elsewhere / told["report"].split()[1]).is_file()


def test_no_note_is_printed_or_written_outside_the_store(sweep: tuple[Path, str], notes_csv: Path) -> None:
    folder, printed = sweep
    notes = [line.split(",")[2] for line in notes_csv.read_text(encoding="utf-8").splitlines()[1:]]
    files = [path for path in (folder / "outputs/sweeps").rglob("*") if path.is_file()]
    written = "".join(path.read_text(encoding="utf-8") for path in files)
    assert not [note for note in notes if note in printed + written]


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("prune.ration=0.3", "prune.ratio"),
        ("epoch=3", "epochs"),
        ("stages.recover_studnet.epochs=2", "recover_student"),
        ("prun=random", "prune"),
        ("pipeline=teachr", "teacher"),
        ("prune=smart_grifin", "smart_griffin"),
        ("model@techer=tiny", "teacher"),
        ("~stages.recover_studnet", "recover_student"),
        ("+experiment=smart_grifin", "smart_griffin"),
    ],
)
def test_a_mistyped_name_fails_at_once_and_names_the_nearest(tmp_path: Path, mistyped: str, meant: str) -> None:
    done = clinlm(tmp_path, mistyped)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "did you mean" in done.stderr
    assert meant in done.stderr.rpartition("did you mean")[2]
    assert not (tmp_path / "outputs/store").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task=mtsamples", "task.root=nowhere"], ["nowhere", "root"]),
        (["task=table"], ["task.root"]),
        (["prune.ratio=1.5", "task=table", "task.root=notes.csv"], ["prune.ratio", "1.5"]),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_paragraph(tmp_path: Path, settings: list[str], said: list[str]) -> None:
    (tmp_path / "notes.csv").write_text("text,labels\n", encoding="utf-8")
    done = clinlm(tmp_path, *settings)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stderr.startswith("clinlm: ")
    assert all(word in done.stderr for word in said), done.stderr


def test_the_configuration_can_be_read(tmp_path: Path) -> None:
    shown = clinlm(tmp_path, "--cfg", "job", "pipeline=teacher", "seed=3")
    assert shown.returncode == 0 and "seed: 3" in shown.stdout and "_target_: clinlm.stage.Stage" in shown.stdout
    helped = clinlm(tmp_path, "--help")
    assert helped.returncode == 0 and "smart_griffin" in helped.stdout and "mtsamples" in helped.stdout
