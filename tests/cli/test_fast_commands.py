"""Commands that answer at once: what they print, and that they import nothing heavy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT
from support.pipelines import TINY

from clinlm import __version__
from clinlm.cli.help import HELP
from clinlm.cli.listing import list_command
from clinlm.cli.main import COMMANDS
from clinlm.cli.options import ConfigOptions
from clinlm.cli.show import show_command
from clinlm.cli.store import store_command
from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import write_run_file
from clinlm.store.content import seal, write_json

SCRIPT = """
import os, sys
from clinlm.cli.main import COMMANDS, main
os.environ["COMP_LINE"] = "clinlm pipeline=a prune."
for words in {words!r}:
    sys.argv = ["clinlm", *words]
    try:
        main()
    except SystemExit as stopped:
        print(f"exit {{stopped.code}}")
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
NUMBERS = {"numpy", "polars", "scipy", "pandas", "sklearn", "matplotlib"}
TRAINING = {"torch", "lightning", "transformers", "torchmetrics", "peft", "wandb", "safetensors", "tokenizers"}
FAST = [
    ["--version"],
    ["--help"],
    ["-m", "--help"],
    ["--completion", "bash"],
    ["--completion", "query", "zsh"],
    ["list"],
]
FAST += [["store", "ls", "store=."], ["store", "verify", "store=."], ["store", "gc", "store=.", "runs=none"]]
FAST += [["list", "prune"], ["show"], *([name, "--help"] for name in COMMANDS)]
WITHOUT = {
    "at once": (FAST, NUMBERS | TRAINING | {"hydra", "omegaconf", "rich"}),
    "settings": ([["--cfg", "job"], ["pipeline=nope"]], NUMBERS | TRAINING),
    "notes": (
        [["check", f"input={ROOT / 'docs/notes.csv'}"], ["predict", "artifac=x"], ["label", "labeler=ontology"]],
        TRAINING | {"pandas", "sklearn", "matplotlib"},
    ),
}
"""What is done -> command lines, run in one process, and packages that it must not import."""


@pytest.mark.parametrize("done", WITHOUT)
def test_commands_import_nothing_that_they_do_not_need(done: str, tmp_path: Path) -> None:
    words, without = WITHOUT[done]
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(words=words)],
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    first, *_, modules = finished.stdout.splitlines()
    assert finished.returncode == 0 and without & {*modules.split()} == set()
    if done == "at once":
        assert not finished.stderr and first == f"clinlm {__version__}"
        assert finished.stdout.count(HELP) == 2 and "prune.ratio=" in finished.stdout and not list(tmp_path.iterdir())
    else:
        assert finished.stdout.count("exit 1") == len(words) - 1


@pytest.mark.integration
def test_a_pipeline_that_is_in_the_store_imports_nothing_that_trains(
    notes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it reports the same, from the plan and the keys that the first run kept; also after `clinlm store gc`."""
    words = [*TINY, f"task.root={notes_csv}", "pipeline=distillation"]
    reports, imported = [], []
    for name in ("first", "second", "third", "fourth"):
        more = ["epochs=1"] * (name == "third")  # another plan: it is made, and its stages are built
        if name == "fourth":
            shutil.rmtree(tmp_path / "third")
            store_command(["gc", f"store={tmp_path / 'outputs/store'}", "days=0", "confirm=true"])
            removed = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("removed ")]
            assert {folder.partition("-")[0] for folder in removed} == {"teacher", "student"} and len(removed) == 2
        finished = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(words=[[*words, *more, f"hydra.run.dir={name}"]])],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert finished.returncode == 0 and "exit 1" not in finished.stdout, finished.stderr
        imported.append({*finished.stdout.splitlines()[-1].split()} & (TRAINING - {"safetensors", "tokenizers"}))
        rows = json.loads((tmp_path / name / "table.json").read_text(encoding="utf-8"))["rows"]
        reports.append([{key: value for key, value in row.items() if key not in ("cached", "seconds")} for row in rows])
    assert {"torch", "lightning"} <= imported[0] & imported[2] and imported[1] == imported[3] == set()
    assert reports[3] == reports[1] == reports[0] != reports[2]


def test_the_help_fits_a_screen_and_names_every_command_and_slot() -> None:
    lines = HELP.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    slots = [slot for slot in ConfigOptions().slots() if "_" not in slot.partition("@")[2]]
    assert [name for name in [*COMMANDS, *slots] if name not in HELP] == []


def test_every_option_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    list_command([])
    printed = capsys.readouterr().out.splitlines()
    for group in ("experiment", "sweep", "pipeline"):
        for name in ConfigOptions().names(group):
            assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in printed), name
    list_command(["prune"])
    assert "wanda" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="did you mean prune"):
        list_command(["pruen"])


def stored(store: Path, name: str, parents: dict[str, object], report: dict[str, object]) -> Path:
    """Write a folder of a store that is complete, as far as its JSON files say."""
    folder = store / name
    folder.mkdir(parents=True)
    write_json(folder / "report.json", report)
    seal(folder, {"parents": parents})
    return folder


def test_an_artifact_is_shown_with_lineage_numbers_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Path("outputs/store")
    teacher = {"role": "teacher", "parameters": 2_000_000, "bytes": 8_000_000, "seconds": 61.0}
    stored(store, "teacher-aaaa11112222", {"start": None, "teachers": []}, teacher)
    learned = {"start": None, "teachers": ["aaaa11112222"]}
    student = stored(store, "student-bbbb11112222", learned, {"role": "student", "epochs": 1, "steps": 3})
    run = Path("outputs/runs/one")
    run.mkdir(parents=True)
    told = {"overrides": ["pipeline=a"], "stages": [{"folder": str(student.absolute())}]}
    write_run_file(run / "run.json", told)
    row = {"key": "bbbb11112222", "quality": {"micro_f1": 0.5}, "intervals": {"micro_f1": {"low": 0.4, "high": 0.6}}}
    write_run_file(run / "table.json", {"rows": [row]})
    show_command(["bbbb"])
    shown = capsys.readouterr().out
    assert "clinlm pipeline=a" in shown and "learns from teacher-aaaa11112222, 61 s of training" in shown
    assert "micro_f1 0.5000 (0.400 to 0.600)" in shown and "report.json" in shown and "1 epoch, 3 steps" in shown
    show_command([])
    assert "teacher-aaaa11112222  teacher, 2.0 M parameters, 8.0 MB" in capsys.readouterr().out
    for path, changed in ((student / "report.json", {"epochs": "1", "steps": []}), (run / "table.json", {"rows": 1})):
        write_json(path, changed)
        show_command(["bbbb"])
        assert "micro_f1" not in (shown := capsys.readouterr().out) or "student-bbbb11112222  damaged;" in shown


def test_a_key_that_means_none_or_several_is_refused(tmp_path: Path) -> None:
    for name in ("teacher-aa11", "teacher-aa22"):
        stored(tmp_path, name, {}, {})
    with pytest.raises(ConfigError, match="teacher-aa11, teacher-aa22"):
        show_command(["aa", f"store={tmp_path}"])
    with pytest.raises(ConfigError, match="got 'cc'"):
        show_command(["cc", f"store={tmp_path}"])
