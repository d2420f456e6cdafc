"""Folders of a store leave as one file and come back as they were, or not at all."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clinlm.config.errors import ConfigError, DataError
from clinlm.store.archive import read_archive, write_archive
from clinlm.store.content import RECORD, Damaged, claim, read_record, seal, verified
from clinlm.store.locks import locked

PARENT, CHILD = "teacher-aaaa00000001", "student-aaaa00000002"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    for name, parents in ((PARENT, {}), (CHILD, {"start": "aaaa00000001"})):
        with claim(tmp_path / "store" / name) as whole:
            assert not whole
            folder = tmp_path / "store" / name
            (folder / "tokenizer").mkdir()
            (folder / "model.safetensors").write_bytes(os.urandom(3000))
            (folder / "tokenizer/tokenizer.json").write_text("{}", encoding="utf-8")
            seal(folder, {"key": name.rpartition("-")[2], "stage": name.rpartition("-")[0], "parents": parents})
        (folder / "README.md").write_text("a card, of no record", encoding="utf-8")
    write_archive([tmp_path / "store" / name for name in (PARENT, CHILD)], tmp_path / "file.tar")
    return tmp_path / "file.tar"


def imported(path: Path, store: Path) -> list[tuple[str, bool]]:
    try:
        return [*read_archive(path, store)]
    finally:
        assert not [own for own in store.glob(".import-*")], "nothing is left half"


def test_what_was_exported_is_imported_whole(exported: Path, tmp_path: Path) -> None:
    assert exported.stat().st_mode & 0o777 == 0o600
    assert imported(exported, tmp_path / "other") == [(PARENT, True), (CHILD, True)]
    for name in (PARENT, CHILD):
        folder = verified(tmp_path / "other" / name)
        assert read_record(folder) == read_record(tmp_path / "store" / name) and not (folder / "README.md").exists()
        assert folder.stat().st_mode & 0o777 == 0o700
        with claim(folder) as whole:
            assert whole
    assert imported(exported, tmp_path / "other") == [(PARENT, False), (CHILD, False)]
    again = tmp_path / "again.tar"
    write_archive([tmp_path / "other" / name for name in (PARENT, CHILD)], again)
    assert again.read_bytes() == exported.read_bytes()


def test_nothing_is_overwritten_and_nothing_damaged_leaves(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output must be a new file, got .*file\.tar"):
        write_archive([tmp_path / "store" / PARENT], exported)
    (tmp_path / "store" / CHILD / "model.safetensors").write_bytes(b"other")
    with pytest.raises(Damaged, match="is not the file that was recorded"):
        write_archive([tmp_path / "store" / name for name in (PARENT, CHILD)], tmp_path / "second.tar")
    assert [own.name for own in tmp_path.iterdir() if own.is_file()] == ["file.tar"]


def test_every_cut_and_most_changes_of_an_archive_are_refused(exported: Path, tmp_path: Path) -> None:
    content, store = exported.read_bytes(), tmp_path / "other"
    with tarfile.open(exported) as archive:
        ends = [member.offset_data + member.size for member in archive]
    damages = [content[:at] for at in range(0, ends[-1], 1300)]
    damages += [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(0, ends[-1], 331)]
    cuts = len(range(0, ends[-1], 1300))
    for number, damage in enumerate(damages):
        exported.write_bytes(damage)
        try:
            imported(exported, store)
        except (DataError, ConfigError):
            continue
        # A byte that pads a block, or of a field that is not read: what arrived is as it was made.
        assert number >= cuts and [verified(store / name) for name in (PARENT, CHILD)]


def rewritten(exported: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """Write an archive again, each of its members changed, or left out."""
    with tarfile.open(exported) as archive:
        members = [(member, archive.extractfile(member)) for member in archive]
        read = [(member, file.read() if file else b"") for member, file in members]
    with tarfile.open(exported, "w") as archive:
        for member, content in read:
            if (changed := change(member, content)) is not None:
                changed[0].size = len(changed[1])
                archive.addfile(changed[0], io.BytesIO(changed[1]))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../student-aaaa00000002/model.safetensors",
        "student-aaaa00000002/../../x",
        "student-aaaa00000002/./x",
        "student-aaaa00000002//x",
        "student-aaaa00000002/.hidden",
        "student-aaaa00000002/a\\b",
        "student-aaaa00000002/C:x",
        "student-aaaa00000002",
        "notes/model.safetensors",
        ".ssh-aaaa00000002/keys",
        "code.json",
    ],
)
def test_files_of_other_places_are_refused(name: str, exported: Path, tmp_path: Path) -> None:
    def moved(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = name if member.name.endswith("tokenizer.json") else member.name
        return member, content

    rewritten(exported, moved)
    with pytest.raises(DataError, match="must hold plain files in folders STAGE-KEY"):
        imported(exported, tmp_path / "other")
    assert not [*(tmp_path / "other").iterdir()]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind: bytes, exported: Path, tmp_path: Path) -> None:
    def linked(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if not member.name.endswith("tokenizer.json"):
            return member, content
        member.type, member.linkname = kind, "/etc/passwd"
        return member, b""

    rewritten(exported, linked)
    with pytest.raises(DataError, match="must hold plain files"):
        imported(exported, tmp_path / "other")


def test_files_that_no_record_names_or_that_are_missing_are_refused(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()

    def added(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.name = member.name.replace("tokenizer/tokenizer.json", "tokenizer/more.json")
        return member, content

    for change, message in (
        (lambda member, content: None if member.name.endswith(RECORD) else (member, content), "must have a record"),
        (
            lambda member, content: None if "tokenizer" in member.name else (member, content),
            "tokenizer.json is missing",
        ),
        (added, "tokenizer.json is missing"),
        (lambda member, content: (member, content + b" "), "cannot be read|not the file|not the record"),
        (lambda *_: None, "got nothing"),
    ):
        exported.write_bytes(whole)
        rewritten(exported, change)
        with pytest.raises(DataError, match=message):
            imported(exported, tmp_path / "other")
    exported.write_bytes(whole)
    for name, message in ((f"{CHILD}/more.bin", "must hold what its records name"), (f"{CHILD}/{RECORD}", "once")):
        with tarfile.open(exported, "a") as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        with pytest.raises(DataError, match=message):
            imported(exported, tmp_path / "other")
        exported.write_bytes(whole)
    assert not [*(tmp_path / "other").iterdir()]


def test_what_is_there_stays(exported: Path, tmp_path: Path) -> None:
    store = tmp_path / "other"
    with claim(store / CHILD):
        (store / CHILD / "model.safetensors").write_bytes(b"trained here")
        seal(store / CHILD, {"key": "aaaa00000002", "stage": "student"})
    with pytest.raises(ConfigError, match=rf"{CHILD} holds other files"):
        imported(exported, store)
    assert not (store / PARENT).exists(), "nothing of it was imported"
    (store / CHILD / "model.safetensors").write_bytes(b"damaged")
    assert imported(exported, store) == [(PARENT, True), (CHILD, True)]
    assert [own.name.partition(".")[0] for own in store.glob("*.damaged-*")] == [CHILD]
    (store / CHILD / RECORD).unlink()
    with pytest.raises(ConfigError, match="is not complete"):
        imported(exported, store)
    with locked(store / PARENT), pytest.raises(ConfigError, match="is being built"):
        imported(exported, store)
