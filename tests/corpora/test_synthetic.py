"""Laws of the corpus: bytes from settings, whole or absent, read back as written."""

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clinlm.corpora import base
from clinlm.corpora.synthetic import synthetic
from clinlm.corpora.synthetic.synthetic import Synthetic
from clinlm.corpora.synthetic.tables import SyntheticTables
from clinlm.store.sources import sources

PROJECT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(corpus: Synthetic, table: str) -> list[dict[str, str]]:
    with (corpus.folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_records_are_those_written(tmp_path: Path) -> None:
    corpus = Synthetic(tmp_path, patients=200)
    records = corpus.records()
    assert records.notices[0] == base.GENERATED
    stays = {row["HADM_ID"]: row for row in rows(corpus, "ADMISSIONS")}
    assert set(records.frame["id"]) == set(stays) and records.frame.height == len(stays)
    assert all(stays[i]["SUBJECT_ID"] == group for i, group in records.frame.select("id", "group").iter_rows())
    labels: dict[str, list[str]] = {}
    for row in rows(corpus, "DIAGNOSES_ICD"):
        labels.setdefault(row["HADM_ID"], []).append(row["ICD9_CODE"])
    assert dict(records.frame.select("id", "labels").iter_rows()) == labels
    assert 0 < records.frame["group"].n_unique() < records.frame.height
    errors = sum(row["ISERROR"] == "1" for row in rows(corpus, "NOTEEVENTS"))
    assert errors and any(f"{errors} of" in notice and "ISERROR" in notice for notice in records.notices)
    ages = records.frame["attributes"].struct.field("age")
    assert "90+" in set(ages) and ages.null_count() == 0


def test_same_settings_same_bytes_in_another_process(tmp_path: Path) -> None:
    here = Synthetic(tmp_path / "here", patients=40, seed=5)
    here.records()
    code = "from clinlm.corpora.synthetic.synthetic import Synthetic; "
    code += f"Synthetic({str(tmp_path / 'there')!r}, 40, 5).records()"
    environment = {**os.environ, "PYTHONHASHSEED": "1234", "PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    there = Synthetic(tmp_path / "there", patients=40, seed=5)
    assert contents(there.folder) == contents(here.folder)
    assert there.fingerprint() == here.fingerprint()


def test_tables_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Synthetic(tmp_path, patients=20).records()

    def refuse(self: SyntheticTables, folder: Path) -> None:
        raise AssertionError("written twice")

    monkeypatch.setattr(SyntheticTables, "write", refuse)
    assert Synthetic(tmp_path, patients=20).records().frame.equals(first.frame)


def test_two_at_once_write_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    write = SyntheticTables.write

    def counted(self: SyntheticTables, folder: Path) -> None:
        writes.append(folder)
        write(self, folder)

    monkeypatch.setattr(SyntheticTables, "write", counted)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: Synthetic(tmp_path, patients=100).records(), range(2))
    assert len(writes) == 1 and one.frame.equals(two.frame)


def test_half_a_set_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Synthetic(tmp_path, patients=20)
    write = SyntheticTables.write

    def killed(self: SyntheticTables, folder: Path) -> None:
        write(self, folder)
        notes = folder / "NOTEEVENTS.csv"
        notes.write_bytes(notes.read_bytes()[:2000])
        raise KeyboardInterrupt

    monkeypatch.setattr(SyntheticTables, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        corpus.records()
    assert not corpus.folder.exists() and len(list(tmp_path.glob("*.partial"))) == 1
    monkeypatch.undo()
    whole = Synthetic(tmp_path / "elsewhere", patients=20)
    assert corpus.records().frame.equals(whole.records().frame)
    assert contents(corpus.folder) == contents(whole.folder) and not list(tmp_path.glob("*.partial"))


def test_fingerprint_needs_no_tables_and_tells_settings_apart(tmp_path: Path) -> None:
    root = tmp_path / "absent"
    corpora = [
        Synthetic(root, patients=20),
        Synthetic(root, patients=21),
        Synthetic(root, patients=20, seed=1),
        Synthetic(root, patients=20, style="full"),
    ]
    assert len({corpus.fingerprint() for corpus in corpora}) == len({corpus.folder for corpus in corpora}) == 4
    assert Synthetic(tmp_path, patients=20).fingerprint() == corpora[0].fingerprint()
    assert not root.exists()


def test_fingerprint_depends_on_every_file_of_the_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(synthetic.__file__).parent
    there = {path.name for path in folder.glob("*.*")} - {"__init__.py", "synthetic.py"}
    others = {"complaints.py", "synthetic_entities.py", "entity_notes.py", "entity_names.csv"}  # corpora of their own
    others |= {"generated_folder.py", "mimic4_tables.py", "omop_tables.py", "fhir_resources.py", "icd9_to_icd10.txt"}
    digests = sources({}, synthetic.GENERATORS)
    package = f"{synthetic.__name__.rpartition('.')[0]}."
    code = {name.partition(":")[0].removeprefix(package) + ".py" for name in digests if name.startswith(package)}
    assert others < there and code | {path.name for path in synthetic.DATA_FILES} == there - others
    whole = Synthetic(folder).fingerprint()
    for name in digests:
        monkeypatch.setattr(base, "sources", lambda *_, name=name: {**digests, name: "changed"})
        assert Synthetic(folder).fingerprint() != whole
        monkeypatch.undo()
    for path in synthetic.DATA_FILES:
        (tmp_path / path.name).write_bytes(path.read_bytes() + b"\n")
        changed = tuple(tmp_path / path.name if other == path else other for other in synthetic.DATA_FILES)
        monkeypatch.setattr(synthetic, "DATA_FILES", changed)
        assert Synthetic(folder).fingerprint() != whole
        monkeypatch.undo()
    assert Synthetic(folder).fingerprint() == whole


def test_the_default_gives_about_2400_admissions(tmp_path: Path) -> None:
    frame = Synthetic(tmp_path).records().frame
    assert 2300 < frame.height < 2500
    assert frame["labels"].list.len().is_between(2, 5).all()


def test_senseless_settings_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patients must be >= 1, got 0"):
        Synthetic(tmp_path, patients=0)
    with pytest.raises(ValueError, match="got 'long'"):
        Synthetic(tmp_path, style="long")  # type: ignore[arg-type]
