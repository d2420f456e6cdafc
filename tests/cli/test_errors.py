"""How commands end: one paragraph for what the user can fix, a traceback for a bug, before torch where that can be."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clinlm.cli.errors import BUG, report
from clinlm.cli.main import COMMANDS
from clinlm.config.errors import ClinlmError, ConfigError, DataError, MissingExtraError, ModelError, ServerError
from clinlm.pipeline.results import GateFailed

ROOT = Path(__file__).parents[2]


def refuse() -> None:
    """Raise what a constructor of ours raises."""
    raise ConfigError("ratio must be below 1, got 2")


def fail() -> None:
    """Raise what is no user's fault."""
    raise ValueError("shapes differ")


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit status and what is printed when a command raises `error`."""
    with pytest.raises(SystemExit) as exit:
        report(error, "clinlm")
    assert isinstance(exit.value.code, int)
    return exit.value.code, capsys.readouterr().err


def raised(settings: dict[str, object]) -> Exception:
    with pytest.raises(InstantiationException) as caught:
        instantiate(OmegaConf.create({"a": settings}))
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        *(kind("X must be Y, got Z") for kind in (ConfigError, DataError, ModelError, ServerError, MissingExtraError)),
        OmegaConfBaseException("X must be Y, got Z"),
        OSError("X must be Y, got Z"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_user_can_fix_is_one_paragraph(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed = ended(error, capsys)
    assert status == 1 and printed.splitlines()[0] == "clinlm: X must be Y, got Z"
    assert "Traceback" not in printed and BUG not in printed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOENT])
def test_an_error_of_the_system_names_its_file(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed = ended(OSError(number, os.strerror(number), "/data/x"), capsys)
    assert status == 1 and "/data/x" in printed and "Traceback" not in printed


def test_a_full_disk_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" not in ended(OSError(errno.ENOSPC, "No space left on device"), capsys)[1]
    for words in ("I/O error: No space left on device (os error 28)", "PytorchStreamWriter failed writing file data/0"):
        status, told = ended(RuntimeError(words), capsys)
        assert status == 1 and "Traceback" not in told and "No space left on device (RuntimeError)" in told


@pytest.mark.parametrize(
    "error", [AssertionError("no"), KeyError("x"), TypeError("x"), ValueError("x"), OSError(errno.EBADF, "x")]
)
def test_anything_else_is_a_bug_to_report(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed = ended(error, capsys)
    assert status == 1 and type(error).__name__ in printed and printed.rstrip().endswith(BUG)


def test_errors_of_constructors_are_those_of_their_cause(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, printed = ended(raised({"_target_": f"{__name__}.refuse"}), capsys)
    assert status == 1 and printed.splitlines()[0] == "clinlm: ratio must be below 1, got 2"
    monkeypatch.setattr("clinlm.cli.errors._OWN", (f"'{__name__}.",))
    status, printed = ended(raised({"_target_": f"{__name__}.fail"}), capsys)
    assert status == 1 and "shapes differ" in printed and BUG in printed
    status, printed = ended(raised({"_target_": "torch.nn.Linear", "sise": 3}), capsys)
    assert status == 1 and "sise" in printed and "Traceback" not in printed


def test_a_gate_has_its_own_status_and_ctrl_c_that_of_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert issubclass(GateFailed, ClinlmError)
    assert ended(GateFailed("stage student fails"), capsys)[0] == 3
    status, printed = ended(KeyboardInterrupt(), capsys)
    assert status == 130 and "run the same command to continue" in printed


def test_the_traceback_can_be_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    printed = ended(ConfigError("X must be Y, got Z"), capsys)[1]
    assert printed.startswith("clinlm.config.errors.ConfigError") and "\nclinlm: X must be Y, got Z" in printed


SCRIPT = """
import json, sys
from clinlm.cli.main import main
sys.argv = ["clinlm", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as exit:
    print(json.dumps([exit.code, "torch" in sys.modules]))
else:
    print(json.dumps([0, "torch" in sys.modules]))
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task=table", "task.root=/nowhere"], "root must exist, got /nowhere"),
        (["task=table", "task.root=notes.csv", "task.corpus.text=note"], "must have the column 'note', got notes.csv"),
        (["task=mtsamples"], "missing required setting: task.root; add task.root=VALUE"),
        (["pipline=a"], "did you mean pipeline?"),
        (["prune=wnda"], "did you mean wanda?"),
        (["batch_size=-1"], "batch_size must be a whole number >= 1, got -1"),
        (["epochs=many"], "epochs must be a whole number >= 0, got many"),
        (["+epoch=3"], "did you mean epochs?"),
        (["monitor=val/macro_F1"], "set one of val/macro_f1"),
        (["predct", "input=notes.csv"], "did you mean predict?"),
        (["--help"], ""),
        (["check", "input=notes.csv"], ""),
        *(([name, "--help"], "") for name in COMMANDS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_found_before_torch_is_imported(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "notes.csv").write_text("id,text,labels\n1,a,b\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "CI": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(arguments)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    status, torch = json.loads(done.stdout.splitlines()[-1])
    assert message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == (2 if message else 0), "one paragraph, and how to get the traceback"
    assert status == (1 if message else 0) and not torch
