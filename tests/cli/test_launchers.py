"""Hydra's launchers: jobs in processes of their own share one store, and share out the cores."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import pytest
from support.slurm import cluster

from clinlm.config.validation import CONF
from clinlm.pipeline.run_record import read_run_file

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TINY = [
    "task=table",
    "task.corpus.id=id",
    "task.corpus.group=group",
    "task.max_tokens=24",
    "model@teacher=tiny",
    "teacher.vocabulary=150",
    "teacher.config.max_position_embeddings=32",
    "epochs=1",
    "batch_size=8",
    "trainer=cpu",
    "precision=32-true",
    "logger=none",
    "report.latency_documents=3",
    "report.latency_passes=1",
    "pipeline=baseline",
    "~hydra.callbacks.sweep_table",
]
"""Of jobs whose only stage is the teacher; the report is told apart by its resamples, which change no stage."""
THREADS = """
import os
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path=None)
def job(config):
    import torch
    from clinlm.config.runtime import share_cores
    share_cores()
    told = HydraConfig.get()
    Path(told.runtime.output_dir, "told.txt").write_text(f"{torch.get_num_threads()} {os.getpid()}")

if __name__ == "__main__":
    job()
"""


CLUSTERS = ROOT / ".venv-clusters" / "bin" / "python"
"""Of the environment that has Ray; `make integration` makes it."""


def installed(launcher: str) -> None:
    """Skip where the plugin of a launcher is not installed."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher", reason=f"the extra {launcher} is not installed")


def environment() -> dict[str, str]:
    """Of a process that finds its own number of threads, and no settings of the process that tests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "OMP_NUM_THREADS")}
    return kept | {"PYTHONPATH": str(ROOT), "CI": "true"}


def clinlm(
    folder: Path, *arguments: str, python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m clinlm -m` in `folder`."""
    return subprocess.run(
        [python, "-m", "clinlm", "-m", *TINY, *arguments],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )


def cached(folder: Path) -> list[bool]:
    """Whether each finished job found its teacher in the store."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("outputs/sweeps/*/*/run.json")]
    return sorted(run["stages"][0]["cached"] for run in runs)


def teachers(folder: Path) -> int:
    return sum(path.is_dir() for path in folder.glob("outputs/store/teacher-*"))


@pytest.fixture(scope="module")
def joined(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which two jobs of joblib ran side by side, and two that had no notes; and how that ended."""
    installed("joblib")
    folder = tmp_path_factory.mktemp("joblib")
    jobs = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"task.root={notes_csv},nowhere.csv"]
    return folder, clinlm(folder, *jobs, "report.resamples=20,21")


def test_joblib_shares_the_store_and_one_failed_job_ends_no_other(
    joined: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = joined
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said = done.stderr.partition("clinlm: ")[2]
    assert "nowhere.csv" in said and "root" in said, "the error of a worker reaches the user"
    assert cached(folder) == [False, True] and teachers(folder) == 1, "built once, though two jobs asked for it"


def test_submitit_runs_jobs_on_one_store(
    joined: tuple[Path, subprocess.CompletedProcess[str]], notes_csv: Path
) -> None:
    """On that of joblib's jobs."""
    installed("submitit")
    folder, _ = joined
    sweeps = ["hydra/launcher=submitit_local", "hydra.sweep.dir=outputs/sweeps/submitit", "report.resamples=22"]
    done = clinlm(folder, *sweeps, f"task.root={notes_csv}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("outputs/sweeps/submitit/*/run.json"))) == 1
    assert cached(folder).count(False) == 1 and teachers(folder) == 1


def test_a_slurm_cluster_runs_a_sweep_with_what_was_asked_for(notes_csv: Path, tmp_path: Path) -> None:
    """Two jobs on a real controller and node: one script for both, one teacher, and the resources of the settings."""
    installed("submitit")
    asked = ["hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=1", "hydra.launcher.cpus_per_task=2"]
    asked += ["hydra.launcher.timeout_min=30", "hydra.launcher.mem_gb=3", "hydra.launcher.partition=main"]
    asked += ["hydra.launcher.array_parallelism=1", "hydra.sweep.dir=outputs/sweeps/slurm"]
    with cluster(tmp_path / "slurm") as own:
        done = clinlm(tmp_path, *asked, f"task.root={notes_csv}", "report.resamples=20,21", **own)
        assert done.returncode == 0, done.stdout + done.stderr
        told = subprocess.run(["scontrol", "show", "job"], env=os.environ | own, capture_output=True, text=True).stdout
    assert cached(tmp_path) == [False, True] and teachers(tmp_path) == 1
    (script,) = tmp_path.glob("outputs/sweeps/slurm/.submitit/*/*submission.sh")
    flags = re.findall("^#SBATCH --(.*)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"array=0-1%1", "cpus-per-task=2", "gpus-per-node=1", "time=30", "mem=3GB", "partition=main"} <= {*flags}
    assert told.count("JobState=COMPLETED") == 2 and told.count("TimeLimit=00:30:00") == 2
    assert told.count("CPUs/Task=2") == told.count("MinMemoryNode=3G") == told.count("TresPerNode=gres:gpu:1") == 2
    logs = [path.read_text(encoding="utf-8") for path in tmp_path.glob("outputs/sweeps/slurm/*/clinlm.log")]
    assert len(logs) == 2 and all("teacher" in log for log in logs)


@pytest.mark.parametrize(
    ("launcher", "setting", "share"),
    [("joblib", "n_jobs=2", lambda cores: max(cores // 2, 1)), ("submitit_local", "cpus_per_task=null", lambda _: 1)],
    ids=["joblib", "submitit_local"],
)
def test_jobs_run_side_by_side_on_their_share_of_the_cores(
    launcher: str, setting: str, share: Callable[[int], int], tmp_path: Path
) -> None:
    installed(launcher.partition("_")[0])
    (tmp_path / "app.py").write_text(THREADS, encoding="utf-8")
    arguments = ["-m", f"hydra/launcher={launcher}", f"hydra.launcher.{setting}", "+x=1,2"]
    subprocess.run([sys.executable, "app.py", *arguments], cwd=tmp_path, env=environment(), check=True, timeout=600)
    told = [path.read_text(encoding="utf-8").split() for path in tmp_path.glob("multirun/*/*/*/told.txt")]
    cores = pytest.importorskip("joblib").cpu_count()
    assert [int(threads) for threads, _ in told] == [share(cores)] * 2
    assert len({process for _, process in told}) == 2


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_launcher_composes(launcher: str) -> None:
    if launcher != "ray":  # ours
        installed(launcher.partition("_")[0])
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    assert config.hydra.launcher._target_.startswith("hydra_plugins.")


def test_a_pruned_trial_trains_no_further_and_is_no_result(notes_csv: Path, tmp_path: Path) -> None:
    """First all trials are pruned, after their second epoch; then the study goes on without a pruner."""
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    study = ["hydra/sweeper=optuna", "clip=0.5,1.0", "epochs=4", "hydra.sweeper.sampler.seed=3"]
    study += [f"hydra.sweeper.objectives.{name}=null" for name in ("bytes", "latency_ms")]
    command = [*study, f"task.root={notes_csv}"]
    pruner = "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 2, n_warmup_steps: 2}"
    done = clinlm(tmp_path, *command, pruner, "hydra.sweeper.n_trials=1", "hydra.sweep.dir=outputs/sweeps/pruned")
    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "outputs/sweeps/pruned/0/clinlm.log").read_text(encoding="utf-8")
    assert "epoch 2 of 4" in log and "epoch 3 of 4" not in log
    (stage,) = tmp_path.glob("outputs/store/teacher-*[0-9a-f]")
    assert not (stage / "record.json").exists() and not (stage / "last.ckpt").exists()
    assert not list(tmp_path.glob("outputs/sweeps/pruned/*/run.json"))
    told = json.loads((tmp_path / "outputs/sweeps/pruned/study.json").read_text(encoding="utf-8"))
    (pruned,) = told["trials"]
    assert pruned["state"] == "PRUNED" and list(pruned["epochs"]) == ["1", "2"] and told["front"] == []
    done = clinlm(tmp_path, *command, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=outputs/sweeps/whole")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "outputs/sweeps/whole/study.json").read_text(encoding="utf-8"))
    assert [one["state"] for one in told["trials"]] == ["PRUNED", "COMPLETE"] and told["front"] == [1]
    assert [path.parent.name for path in tmp_path.glob("outputs/sweeps/whole/*/run.json")] == ["1"]


def test_ray_builds_each_stage_once_and_outlives_a_worker(notes_csv: Path, tmp_path: Path) -> None:
    """A grid on two workers, of which that with the teacher is killed; its tables are those of one process."""
    if not CLUSTERS.exists():
        pytest.skip("needs .venv-clusters; make integration makes it")
    grid = ["pipeline=a,b", "quantize=none,dynamic", "student.layers=1", "prune.ratio=0.3", f"task.root={notes_csv}"]
    grid += ["epochs=4", "hydra.sweep.dir=outputs/sweeps/grid"]
    (tmp_path / "ray").mkdir()
    killed = threading.Event()
    watcher = threading.Thread(target=_kill_teacher, args=(tmp_path / "ray", killed), daemon=True)
    watcher.start()
    on_ray = ["hydra/launcher=ray", "hydra.launcher.workers=2"]
    done = clinlm(tmp_path / "ray", *grid, *on_ray, python=str(CLUSTERS), TMPDIR="/tmp")
    assert done.returncode == 0, done.stdout + done.stderr
    assert killed.is_set(), "the teacher was not killed while it trained"
    (tmp_path / "serial").mkdir()
    serial = clinlm(tmp_path / "serial", *grid)
    assert serial.returncode == 0, serial.stdout + serial.stderr
    tables = [_tables(tmp_path / name / "outputs/sweeps/grid") for name in ("ray", "serial")]
    assert tables[0] == tables[1] and [*tables[0]] == ["0", "1", "2", "3"]
    built = [_built(tmp_path / name / "outputs/sweeps/grid") for name in ("ray", "serial")]
    assert built[0] == built[1] and sum(map(len, built[0].values())) == 6, "by whichever task, by the first job"
    stores = [
        {path.parent.name for path in tmp_path.glob(f"{name}/outputs/store/*/report.json")}
        for name in ("ray", "serial")
    ]
    assert stores[0] == stores[1] and len(stores[0]) == 6
    (teacher,) = tmp_path.glob("ray/outputs/store/teacher-*/report.json")
    assert json.loads(teacher.read_text(encoding="utf-8"))["attempts"] == 2, "from its checkpoint"


def _kill_teacher(folder: Path, killed: threading.Event) -> None:
    """Kill the worker that trains the teacher as soon as it has a checkpoint."""
    while not list(folder.glob("outputs/store/teacher-*/last.ckpt")):
        time.sleep(0.02)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command, place = (process / "cmdline").read_bytes(), (process / "cwd").readlink()
            if command.startswith(b"ray::stage teacher") and place == folder:
                os.kill(int(process.name), signal.SIGKILL)
                killed.set()


def _built(folder: Path) -> dict[str, list[str]]:
    """Return which stages every job built."""
    runs = {path.parent.name: read_run_file(path)["stages"] for path in sorted(folder.glob("*/run.json"))}
    return {
        job: [stage["folder"].rpartition("/")[2] for stage in own if not stage["cached"]] for job, own in runs.items()
    }


def _tables(folder: Path) -> dict[str, list[Any]]:
    """Return the rows of every job, without what a machine was busy with."""
    rows = {path.parent.name: read_run_file(path)["rows"] for path in sorted(folder.glob("*/table.json"))}
    kept = ("name", "key", "bytes", "quality")
    return {job: [[row[name] for name in kept] for row in own] for job, own in rows.items()}
