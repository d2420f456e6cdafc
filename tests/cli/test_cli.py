"""The command line as a user meets it: processes of their own, in an empty folder, with a network of one layer."""

import json
import shlex
import zlib
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from support import wandb_files
from support.commands import PRUNED, SMALL, clinlm

from clinlm.cli.run import suggestion
from clinlm.config.settings import compose
from clinlm.config.validation import CONF


def stages(folder: Path) -> dict[str, dict[str, bool]]:
    """Return, for every job in a folder of runs, whether each of its stages came out of the store."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("run.json"))]
    return {job["pipeline"]: {stage["name"]: stage["cached"] for stage in job["stages"]} for job in jobs}


NAME = "Quixley Pemberwick Zorblatt"
SENTENCE = "a winning lottery ticket was found beneath the blue pillow"
NOTE, PATIENT, NUMBER = "qxnote", "qxpatient", "qxnumber"
"""What ids of notes and of patients, and a number within the text, begin with."""
LEARNT = ("tokenizer.json", "vocab.txt", "vocabulary.json", "terms.zlib")
"""Files of the single words that a tokenizer or TF-IDF learnt."""


@pytest.fixture(scope="module")
def planted(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`notes_csv` with ids, and in every text a name, a number and a sentence, that are found nowhere else."""
    frame = pl.read_csv(notes_csv).with_columns(
        id=pl.format(NOTE + "{}x", "id"),
        group=pl.format(PATIENT + "{}x", "group"),
        text=pl.format(f"{NAME} {NUMBER}{{}}x {{}} {SENTENCE}", "id", "text"),
    )
    path = tmp_path_factory.mktemp("planted") / "notes.csv"
    frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def sweep(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `-m pipeline=a,b` has run, with every report of it; and all that was printed."""
    folder = tmp_path_factory.mktemp("user")
    settings = [
        *SMALL,
        *PRUNED,
        f"task.root={planted}",
        "logger=many",
        "engine=onnxruntime",
        "report.show=[validation]",
    ]
    done = clinlm(folder, *settings, "report.show=[validation]", "-m", "pipeline=a,b")
    assert done.returncode == 0, done.stdout + done.stderr
    (place,) = folder.glob("outputs/sweeps/*")
    printed = [done.stdout, done.stderr]
    for kind in ("clinical", "hf", "html"):
        done = clinlm(folder, "report", kind, f"run={place / '0'}" if kind == "hf" else f"sweep={place}")
        assert done.returncode == 0, done.stdout + done.stderr
        printed += [done.stdout, done.stderr]
    return folder, "".join(printed)


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
def test_a_second_run_builds_nothing_and_a_stage_can_be_taken_out(sweep: tuple[Path, str], planted: Path) -> None:
    folder, _ = sweep
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    store = f"store={folder / 'outputs/store'}"
    ablation = ["pipeline=b", "~stages.recover_student", "logger=none", store]
    done = clinlm(elsewhere, *SMALL, *PRUNED, f"task.root={planted}", *ablation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stages(elsewhere) == {"b": {"teacher": True, "student": True, "prune_student": True}}
    told = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"artifact", "report", "next"} <= set(told)
    assert "prune_student-" in told["artifact"]
    assert (elsewhere / told["report"].split()[1]).is_file()


def readable(path: Path) -> str:
    """Return the content of a file, unpacked where it is packed."""
    if path.suffix == ".parquet":
        return str(pl.read_parquet(path).rows())
    if path.suffix == ".wandb":  # records are cut at the ends of blocks
        return "".join(str(record) for record in wandb_files.records(path))
    content = path.read_bytes()
    return (zlib.decompress(content) if path.suffix == ".zlib" else content).decode("utf-8", "replace")


@pytest.mark.integration
def test_nothing_of_a_note_is_printed_or_written_outside_the_store_of_tasks(sweep: tuple[Path, str]) -> None:
    """Tables, page, cards, reports for the ward, folders for transformers, loggers, models, deployments."""
    folder, printed = sweep
    names = [path for path in sorted((folder / "outputs").rglob("*")) if path.is_file()]
    files = {str(path.relative_to(folder / "outputs")): readable(path).lower() for path in names}
    own = {name for name in files if name.startswith(("store/task-", "store/transfer-"))}
    assert SENTENCE in "".join(files[name] for name in own), "the test would find it"
    made = {path.name for path in names} | {path.suffix for path in names}
    assert {"report.html", "clinical.md", "applied_model_card.xml", "pooled_classifier.py", "README.md"} <= made
    assert {"metrics.csv", ".wandb", "model.onnx", "validation.json", "disagreements.csv", *LEARNT[2:]} <= made
    files["what was printed"] = printed.lower()
    for name, content in files.items():
        if name in own:
            continue
        place = name.rpartition("/")[2]
        told = [NAME.lower(), SENTENCE, PATIENT]
        told += [] if place in LEARNT else [NUMBER, *NAME.lower().split()]
        told += [] if place == "disagreements.csv" else [NOTE]  # says which notes differ, and docs/cli.md says so
        assert not [word for word in told if word in content], name


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
