"""A store on an object store: a real server of S3's protocol on loopback, runs of two machines, and a killed upload."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.commands import ROOT, SMALL, clinlm

pytestmark = pytest.mark.integration
PYTHON = ROOT / ".venv-clusters" / "bin" / "python"
"""Of the environment that has s3fs and moto, whose botocore wants an older python-dateutil."""
NAME, FILES = "teacher-aaaa00000001", 60

HOST = """
import os, sys
from pathlib import Path
from clinlm.store.content import claim, mirrored, seal
from clinlm.store.url_mirror import UrlMirror
url, root, upload, name, files = sys.argv[1:]
folder = Path(root) / name
mirror = UrlMirror(url, Path(root), upload)
with mirrored(mirror), claim(folder) as whole:
    if not whole:
        for number in range(int(files)):
            (folder / str(number)).write_bytes(os.urandom(200_000))
        seal(folder, {"key": name[-12:], "stage": "teacher"})
mirror.finish()
print(whole)
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server; it asks for no keys, and the client for any."""

    address: str

    @property
    def variables(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_DEFAULT_REGION": "us-east-1"}
        return keys | {"AWS_ENDPOINT_URL": self.address, "AWS_EC2_METADATA_DISABLED": "true"}

    def ask(self, path: str, method: str = "GET", data: bytes | None = None) -> str:
        asked = urllib.request.Request(f"{self.address}/notes{path}", data, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(answer.read().decode())

    def names(self) -> list[str]:
        return re.findall("<Key>([^<]+)</Key>", self.ask("?list-type=2"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Moto's server."""
    if not PYTHON.is_file() or subprocess.run([PYTHON, "-c", "import moto, s3fs"], capture_output=True).returncode:
        pytest.skip("moto and s3fs are not in .venv-clusters; make integration installs them")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("server") / "log").open("w")
    command = [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        end = time.monotonic() + 200
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, Path(log.name).read_text(encoding="utf-8")
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.kill()


@pytest.fixture
def bucket(server: str) -> Bucket:
    """An empty bucket."""
    with urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST"), timeout=60):
        return Bucket(server)


def test_what_one_machine_trained_another_takes(notes_csv: Path, tmp_path: Path, bucket: Bucket) -> None:
    words = [*SMALL, f"task.root={notes_csv}", "pipeline=baseline", "store=s3://notes/lab", "hydra.run.dir=run"]
    logs = []
    for name in ("absent", "first", "second"):
        (tmp_path / name).mkdir()
        done = clinlm(tmp_path / name, *words, python=str(PYTHON), **bucket.variables)
        if name == "absent":
            assert done.returncode == 1 and not [*(tmp_path / name).rglob("task-*")]
            assert "s3://notes/lab must be in a bucket that exists" in done.stderr and "Traceback" not in done.stderr
            bucket.ask("", "PUT")
            continue
        assert done.returncode == 0, done.stderr
        logs.append(done.stdout + done.stderr)
        stages = {re.sub("-.*", "", key.split("/")[1]) for key in bucket.names() if key.count("/") > 1}
        assert {"teacher", "protocols"} <= stages and stages.isdisjoint({"task", "tfidf"})
    (teacher,) = [path.name for path in (tmp_path / "first/outputs/store").glob("teacher-*")]
    assert f"{teacher} is written to s3://notes/lab" in logs[0] and f"{teacher} is taken from" in logs[1]
    assert "stays on this machine: it may hold notes" in logs[0] and "margin" not in logs[1].partition("Pipeline")[0]
    files = [tmp_path / name / "outputs/store" / teacher / "model.safetensors" for name in ("first", "second")]
    assert files[0].read_bytes() == files[1].read_bytes()
    (tmp_path / "other").mkdir()
    words = ["store", "verify", "store=s3://notes/lab"]
    verified = clinlm(tmp_path / "other", *words, python=str(PYTHON), **bucket.variables)
    assert verified.returncode == 0 and f"{teacher}  whole" in verified.stdout, verified.stderr


def test_an_upload_that_is_killed_is_taken_nowhere_and_goes_on(tmp_path: Path, bucket: Bucket) -> None:
    bucket.ask("", "PUT")
    env = os.environ | bucket.variables | {"PYTHONPATH": str(ROOT)}

    def host(name: str, upload: str = "models") -> "subprocess.Popen[str]":
        place = str(tmp_path / name)
        command = [str(PYTHON), "-c", HOST, "s3://notes/lab", place, upload, NAME, str(FILES)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def was_whole(name: str, upload: str = "models") -> str:
        with host(name, upload) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out.strip()

    with host("first") as process:
        while len(names := bucket.names()) < 5:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert 5 <= len(names) < FILES and f"lab/{NAME}/record.json" not in bucket.names()
    assert was_whole("second", "none") == "False"
    assert was_whole("first") == "True" and len(bucket.names()) == FILES + 1
    assert was_whole("third", "none") == "True"
    first, third = (tmp_path / name / NAME for name in ("first", "third"))
    assert {path.name: path.read_bytes() for path in third.iterdir()} == {
        path.name: path.read_bytes() for path in first.iterdir()
    }
