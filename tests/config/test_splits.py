"""Laws of the settings that decide which splits a command sees: what is refused, and what it becomes."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from clinlm.cli.pipelines import as_sweep
from clinlm.config.errors import ConfigError
from clinlm.config.resolvers import of_split
from clinlm.config.splits import check_splits, first_split, refuse_opening, refuse_resplits, refuse_several
from clinlm.sweepers.split_jobs import split_jobs

CORPUS = {"_target_": "clinlm.corpora.table.Table", "_partial_": True, "text": "text", "labels": "labels"}


def config(**changes: Any) -> DictConfig:
    """Return what the checks read, with dots as double underscores."""
    found = OmegaConf.create({"resplits": 1, "nested": False, "task": {"corpus": CORPUS, "root": None}, "gate": {}})
    for name, value in changes.items():
        OmegaConf.update(found, name.replace("__", "."), value, force_add=True)
    return found


def notes(folder: Path) -> str:
    """Write a table whose column `half` is a split."""
    rows = "".join(f"n{number},{split},flu\n" for number, split in enumerate(("train", "val", "test")))
    (folder / "notes.csv").write_text(f"text,half,labels\n{rows}", encoding="utf-8")
    return str(folder / "notes.csv")


def test_jobs_are_repeated_split_by_split() -> None:
    jobs = [["pipeline=a", "task.seed=1"], ["pipeline=b", "+task.seed=1", "seed=2"]]
    assert split_jobs(jobs, 1, 1) == jobs
    assert split_jobs(jobs, 2, 1) == [
        ["pipeline=a", "task.seed=1"],
        ["pipeline=b", "seed=2", "task.seed=1"],
        ["pipeline=a", "task.seed=2"],
        ["pipeline=b", "seed=2", "task.seed=2"],
    ]


def test_a_sweep_has_one_number_of_splits_and_one_first(tmp_path: Path) -> None:
    job = {"resplits": 2, "task__root": notes(tmp_path)}
    assert check_splits([config(**job), config(**job, seed=1)]) == 2
    assert first_split(config(task__seed=4)) == 4 and first_split(config()) == 0
    for other, said in (
        ({"resplits": 3}, "resplits must have one value in a sweep, got 2, 3"),
        ({"nested": True}, "nested must have one value in a sweep, got False, True"),
        ({"task__seed": 1}, "resplits=2 counts splits from one task.seed, got 0, 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_splits([config(**job), config(**job | other)])
    with pytest.raises(ConfigError, match="resplits must be a whole number >= 1, got 0"):
        check_splits([config(resplits=0)])


def test_a_corpus_that_defines_its_split_has_no_others(tmp_path: Path) -> None:
    job = {"task__root": notes(tmp_path), "task__corpus__split": "half"}
    assert check_splits([config(**job)]) == 1
    with pytest.raises(ConfigError, match="resplits=2 draws .* but the corpus of this task defines its split"):
        check_splits([config(**job, resplits=2)])


def test_what_would_open_test_is_refused_where_it_stays_closed() -> None:
    refuse_opening(config(nested=True, gate__split="validation"))
    for other, said in (({"gate__split": "test"}, "never opens test"), ({"resplits": 2}, "chooses on one split")):
        with pytest.raises(ConfigError, match=said):
            refuse_opening(config(nested=True, **other))
    with pytest.raises(ConfigError, match="nested must be true or false, got 1"):
        refuse_opening(config(nested=1))


def test_an_optimiser_sees_one_split_and_a_run_too() -> None:
    refuse_resplits([config(nested=True)])
    with pytest.raises(ConfigError, match="must not see the splits that a result is reported on, got resplits=2"):
        refuse_resplits([config(resplits=2)])
    with pytest.raises(ConfigError, match="nested must have one value"):
        refuse_resplits([config(), config(nested=True)])
    with pytest.raises(ConfigError, match="resplits=2 needs a sweep"):
        refuse_several(config(resplits=2))


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        (["a=1", "resplits=3", "hydra.run.dir=x"], ["-m", "a=1", "resplits=3", "hydra.sweep.dir=x"]),
        (["a=1", "resplits=1", "hydra.run.dir=x"], ["a=1", "resplits=1", "hydra.run.dir=x"]),
        (["-m", "resplits=3"], ["-m", "resplits=3"]),
        (["--cfg", "job", "resplits=3"], ["--cfg", "job", "resplits=3"]),
        (["--config-dir", "lab", "resplits=3"], ["-m", "--config-dir", "lab", "resplits=3"]),
        (["--config-dir=lab", "resplits=3", "--cfg", "job"], ["--config-dir=lab", "resplits=3", "--cfg", "job"]),
        (["report.resplits=3"], ["report.resplits=3"]),
    ],
)
def test_a_command_of_several_splits_is_a_sweep(typed: list[str], becomes: list[str]) -> None:
    assert as_sweep(typed) == becomes


def test_a_folder_names_its_split_where_there_are_several() -> None:
    assert (of_split(1, 4), of_split(3, 4)) == ("", "-split4")
