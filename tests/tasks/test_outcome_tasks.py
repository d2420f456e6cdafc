"""Laws of the four outcome tasks as conf/ has them: they run without a root, and where files lie changes no key."""

from pathlib import Path
from typing import get_args

import hydra
import pytest
from support.outcome_tables import tables, write

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.corpora.mimic.mimic3_outcomes import Outcome
from clinlm.pipeline import execution
from clinlm.tasks.base import Task


def opened(store: Path, *overrides: str) -> tuple[Task, str]:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return execution.open_task(hydra.compose("config", [f"store={store}", *overrides]))


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_a_task_without_a_root_reads_generated_notes(tmp_path: Path, outcome: str) -> None:
    small = (f"task={outcome}", "task.corpus.generated.patients=60")
    task, key = opened(tmp_path / "a", *small)
    assert task.examples.notices[0].startswith("generated notes")
    assert len(task.examples.labels) >= 2 and task.max_tokens == 512
    splits = task.examples.frame.group_by("group").agg("split")
    assert all(len(set(own)) == 1 for own in splits["split"])
    assert opened(tmp_path / "b", *small)[1] == key
    assert opened(tmp_path / "b", *small, "task.corpus.definition=strict")[1] != key


def test_lists_split_and_their_place_changes_no_key(tmp_path: Path) -> None:
    rows = tables(3)
    keys = set()
    for place in ("a", "b"):
        root = write(tmp_path / place, rows)
        for name, people in (("train", (2,)), ("val", (4,)), ("test", (1, 3, 5))):
            (root / f"mimic_{name}.csv").write_text("\n".join(["SUBJECT_ID", *map(str, people)]) + "\n")
        settings = ("task=diagnoses_3digit", f"task.root={root}", f"task.corpus.lists_root={root}")
        task, key = opened(tmp_path / f"store_{place}", *settings)
        keys.add(key)
        frame = task.examples.frame
        where = {"2": "train", "4": "validation", "1": "test", "3": "test", "5": "test"}
        assert frame["split"].to_list() == [where[group] for group in frame["group"]]
    assert len(keys) == 1
