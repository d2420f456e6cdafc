"""Files answered by Ray and Spark: killed drivers, workers and nodes lose nothing; answers are those of the command."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.commands import ROOT, clinlm

from clinlm.corpora.table import Table
from clinlm.predict.model_answerer import predict_files
from clinlm.predict.settings import PredictSettings
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.training.tfidf_int8 import TfidfInt8

pytestmark = pytest.mark.integration
PYTHON = ROOT / ".venv-clusters" / "bin" / "python"
"""Of the environment that has Ray and Spark; `make integration` makes it."""
SECRET, SHARDS, NOTES, MARK = "Zyxwvut", 8, 300, "CLINLM_TEST_MARK"

NODES = """
import json, sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": sys.argv[1]}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
print(json.dumps(cluster.address), flush=True)
sys.stdin.readline()
cluster.remove_node(nodes[0], allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def artifact(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that workers open at once."""
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    store = tmp_path_factory.mktemp("store")
    task = MultiLabel(corpus, str(notes_csv), Head(), labels=4, shares=(0.6, 0.2, 0.2)).open(store, "key")
    member = TfidfInt8.of(task)
    member.fitted(task)
    return member.folder


@pytest.fixture(scope="module")
def notes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of notes that take a while to answer, and some that cannot be."""
    folder = tmp_path_factory.mktemp("notes")
    for shard in range(SHARDS):
        ids = [f"{shard}-{number}" for number in range(NOTES)]
        texts = [f"{SECRET} has fever and cough, no cast, {id}. " * (1 + int(id[-1]) * 60) for id in ids]
        texts[7] = ""
        pl.DataFrame({"id": ids, "text": texts}).write_parquet(folder / f"part-{shard}.parquet")
    return folder


@pytest.fixture(scope="module")
def plain(artifact: Path, notes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of this process."""
    output = tmp_path_factory.mktemp("plain") / "answers"
    given = [f"artifact={artifact}", f"input={notes_folder}", f"output={output}", "threads=1"]
    done = predict_files(PredictSettings.of(given)).done
    assert (done.documents, done.rejects) == (SHARDS * (NOTES - 1), SHARDS)
    return output


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def require(module: str) -> None:
    if not PYTHON.is_file() or subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode:
        pytest.skip(f"{module} is not in .venv-clusters; make integration installs it")


def equal(answers: Path, plain: Path) -> None:
    """Check that all answers and rejects are byte for byte those of this process, and every id is there once."""
    files = [path.relative_to(plain) for path in plain.rglob("part-*") if path.parent.name != "_progress"]
    assert len(files) == 2 * SHARDS
    assert {name: (answers / name).read_bytes() for name in files} == {
        name: (plain / name).read_bytes() for name in files
    }
    assert pl.read_parquet(answers / "*.parquet")["id"].n_unique() == SHARDS * (NOTES - 1)
    assert not (answers / "_attempts").exists()


@contextmanager
def started(folder: Path, *words: str, on: str = "ray", **more: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command on Ray or Spark, and end it if a test fails."""
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"], "HOME": str(folder)} | more
    command = [str(PYTHON), "-m", "clinlm", "predict", f"on={on}", "threads=2", *words]
    out = (folder / "log").open("w")
    with out, subprocess.Popen(command, env=env, cwd=folder, stdout=out, stderr=out, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], Any], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def processes(mark: str, name: bytes = b"") -> list[int]:
    """Return processes with a mark in their environment whose command begins with a name."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            marked = entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes()
            if marked and (entry / "cmdline").read_bytes().startswith(name):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_killed_driver_and_killed_workers_lose_nothing(
    artifact: Path, notes_folder: Path, plain: Path, short_folder: Path
) -> None:
    require("ray")
    temporary, answers = short_folder / "t", short_folder / "answers"
    temporary.mkdir()
    words = [f"artifact={artifact}", f"input={notes_folder}", f"output={answers}"]
    env = {"TMPDIR": str(temporary), MARK: short_folder.name}

    def done() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (answers / "_progress").glob("*.json")}

    with started(short_folder, *words, **env) as driver:
        until(done)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    until(lambda: not processes(short_folder.name))  # Ray's own processes end with it
    before = done()
    assert 0 < len(before) < SHARDS
    shutil.rmtree(temporary)  # what a killed process left; later ones remove it after a week
    temporary.mkdir()
    with started(short_folder, *words, **env) as driver:
        until(lambda: len(done()) > len(before) or driver.poll() is not None)
        workers = processes(short_folder.name, b"ray::run_job")
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        driver.wait()
    told = (short_folder / "log").read_text()
    assert driver.returncode == 0 and workers, told
    assert f"documents  {SHARDS * (NOTES - 1):,}" in told and f"rejects    {SHARDS}" in told
    assert {path: when for path, when in done().items() if path in before} == before, "what was done stays"
    equal(answers, plain)
    assert [*temporary.iterdir()] == [] and not (short_folder / ".ray").exists()


def test_a_killed_node_loses_nothing_and_no_word_of_a_note_is_in_the_logs_of_ray(
    artifact: Path, notes_folder: Path, plain: Path, short_folder: Path
) -> None:
    require("ray")
    logs, answers = short_folder / "logs", short_folder / "answers"
    secrets = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}
    (short_folder / "ray").mkdir()  # in which the cluster of Ray's own tests notes its address, if it is there
    env = {**os.environ, **secrets, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "HOME": str(short_folder)}
    env["RAY_TMPDIR"] = str(short_folder)
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([PYTHON, "-c", NODES, logs], env=env, **pipes) as cluster:
        try:
            address = json.loads(next(line for line in cluster.stdout if line.startswith('"')))  # type: ignore[union-attr]
            words = [f"artifact={artifact}", f"input={notes_folder}", f"output={answers}", f"address={address}"]
            with started(short_folder, *words, **secrets) as driver:
                until(lambda: [*(answers / "_progress").glob("*.json")] or driver.poll() is not None)
                cluster.stdin.write("\n")  # type: ignore[union-attr]
                cluster.stdin.flush()  # type: ignore[union-attr]
                driver.wait()
            assert driver.returncode == 0, (short_folder / "log").read_text()
        finally:
            cluster.communicate("\n")
    equal(answers, plain)
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert len(texts) > 10 and not [text for text in texts if SECRET.encode() in text]


def test_an_address_without_a_cluster_is_told_at_once(artifact: Path, notes_folder: Path, tmp_path: Path) -> None:
    require("ray")
    words = [f"artifact={artifact}", f"input={notes_folder}", f"output={tmp_path / 'answers'}", "on=ray"]
    for address, told in (("127.0.0.1:9", "must be that of a running Ray cluster"), ("x", "must be local, auto or")):
        found = clinlm(tmp_path, "predict", *words, f"address={address}", python=str(PYTHON))
        assert found.returncode == 1 and f"clinlm predict: address {told}" in found.stderr, found.stderr


def test_a_killed_spark_and_its_killed_workers_lose_nothing(
    artifact: Path, notes_folder: Path, plain: Path, short_folder: Path
) -> None:
    require("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java: apt-get install openjdk-17-jre-headless")
    answers, temporary = short_folder / "answers", short_folder / "t"
    temporary.mkdir()
    words = [f"artifact={artifact}", f"input={notes_folder}", f"output={answers}"]
    env = {"TMPDIR": str(temporary), MARK: short_folder.name}

    def done() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (answers / "_progress").glob("*.json")}

    with started(short_folder, *words, on="spark", **env) as driver:
        until(lambda: done() or driver.poll() is not None)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    until(lambda: not processes(short_folder.name))  # Java and its Python workers end with it
    before = done()
    assert 0 < len(before) < SHARDS, (short_folder / "log").read_text()
    shutil.rmtree(temporary)
    temporary.mkdir()
    with started(short_folder, *words, on="spark", **env) as driver:
        until(lambda: len(done()) > len(before) or driver.poll() is not None)
        workers = [
            process
            for process in processes(short_folder.name)
            if b"pyspark.daemon" in Path(f"/proc/{process}/cmdline").read_bytes()
        ]
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        driver.wait()
    told = (short_folder / "log").read_text()
    assert driver.returncode == 0 and workers, told
    assert f"documents  {SHARDS * (NOTES - 1):,}" in told and SECRET not in told
    assert {path: when for path, when in done().items() if path in before} == before, "what was done stays"
    equal(answers, plain)
    assert [*temporary.iterdir()] == []


def test_the_script_for_spark_answers_the_same(artifact: Path, notes_folder: Path, plain: Path, tmp_path: Path) -> None:
    require("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java: apt-get install openjdk-17-jre-headless")
    document = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    script = document.split("## Tables, on Spark")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "answer.py").write_text(script)
    env = {**os.environ, "PYSPARK_PYTHON": str(PYTHON), "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    words = ["--master", "local[2]", "--conf", "spark.ui.enabled=false", "answer.py", artifact, notes_folder, "answers"]
    submit = PYTHON.with_name("spark-submit")
    done = subprocess.run([submit, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = pl.read_parquet(tmp_path / "answers" / "*.parquet").sort("id")
    answered = found.filter(pl.col("rejected").is_null()).drop("rejected")
    assert answered.equals(pl.read_parquet(plain / "*.parquet").drop("line").sort("id"))
    assert found.height == SHARDS * NOTES and SECRET not in done.stdout + done.stderr
