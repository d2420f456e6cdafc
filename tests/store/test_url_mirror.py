"""A store at a URL: whole folders go there and come from there, and nothing that is half or damaged is taken."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from clinlm.cli.store import store_command
from clinlm.config.errors import ConfigError, ModelError, ServerError
from clinlm.config.settings import compose
from clinlm.config.store_url import refuse_untyped_uploads
from clinlm.pipeline.opened_store import opened_store
from clinlm.pipeline.protocol import close_protocols, fix_protocol
from clinlm.predict.settings import LabelSettings
from clinlm.store.content import RECORD, claim, mirrored, seal
from clinlm.store.key import digest
from clinlm.store.url_mirror import UrlMirror

TEACHER, TASK = "teacher-aaaa00000001", "task-aaaa00000002"
FILES = ("model.safetensors", "tokenizer/tokenizer.json", "report.json")


@contextmanager
def host(url: str, root: Path, upload: str = "models") -> Iterator[UrlMirror]:
    """A machine with a store of its own."""
    mirror = UrlMirror(url, root, upload)
    with mirrored(mirror):
        yield mirror
    mirror.finish()


def build(root: Path, name: str = TEACHER, text: str = "{}") -> bool:
    """Claim a folder, and build it if it is not whole; return whether it was."""
    stage, _, key = name.rpartition("-")
    with claim(root / name) as whole:
        if not whole:
            (root / name / "tokenizer").mkdir()
            for file in FILES:
                (root / name / file).write_text(text, encoding="utf-8")
            seal(root / name, {"key": key, "task": TASK[-12:]} | ({"stage": stage} if name == TEACHER else {}))
    return whole


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/bucket/prefix"


def test_a_whole_folder_is_taken_and_none_with_notes_leaves(url: str, tmp_path: Path) -> None:
    first, second, place = tmp_path / "first", tmp_path / "second", tmp_path / "bucket/prefix"
    with host(url, first):
        assert not build(first) and not build(first, TASK)
    assert [path.name for path in place.iterdir()] == [TEACHER]
    (second / TEACHER).mkdir(parents=True)
    (second / TEACHER / "last.ckpt").touch()  # it was begun there
    with host(url, second, "none"):
        assert build(second) and not build(second, TASK)
    assert content(second / TEACHER) == content(first / TEACHER) and not [*second.glob(".import-*")]
    assert (second / TEACHER).stat().st_mode & 0o777 == 0o700
    with host(url, first, "notes"):  # what was complete before goes, too
        assert build(first, TASK)
    assert (place / TASK / RECORD).is_file()


def test_an_upload_that_ends_while_others_clean_up_keeps_its_files(url: str, tmp_path: Path) -> None:
    root, place = tmp_path / "first", tmp_path / "bucket/prefix"
    with host(url, root):
        build(root)
    record = (place / TEACHER / RECORD).read_bytes()
    (place / TEACHER / RECORD).unlink()
    mirror = UrlMirror(url, root)
    (folder,) = mirror.folders()
    assert not folder.whole and mirror.unnamed(folder) == [*folder.files]
    (place / TEACHER / RECORD).write_bytes(record)
    assert not mirror.remove(folder, [*folder.files])
    mirror.check(TEACHER)


def test_an_upload_that_stops_anywhere_is_taken_nowhere_and_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    mirror = UrlMirror(url, first)
    put, done = mirror._system.put_file, list[str]()

    def stopped(path: str, target: str) -> None:
        if len(done) == 1:
            Path(target).write_text("h", encoding="utf-8")  # half of a file, where writing is not atomic
            raise OSError("the network is gone")
        done.append(target)
        put(path, target)

    with mirrored(mirror):
        with monkeypatch.context() as patch:
            patch.setattr(mirror._system, "put_file", stopped)
            (first / TEACHER / "tokenizer").mkdir(parents=True)
            with claim(first / TEACHER):
                for number, file in enumerate(FILES):
                    (first / TEACHER / file).write_text(f'{{"number": {number}}}', encoding="utf-8")
                seal(first / TEACHER, {"key": TEACHER[-12:], "stage": "teacher"})
            with pytest.raises(ServerError, match=rf"for {TEACHER}; all of it is in {first}: run the same command"):
                mirror.finish()
    assert "OSError: the network is gone" in caplog.text and [own.whole for own in mirror.folders()] == [False]
    with host(url, second, "none"):
        assert not build(second)
    mirror.finish()  # writes what is not there
    with host(url, tmp_path / "third"):
        assert build(tmp_path / "third")
    assert content(tmp_path / "third" / TEACHER) == content(first / TEACHER)


@pytest.mark.parametrize("damage", ["changed", "missing", "record", "outside", "another"])
def test_what_is_damaged_there_is_named_and_written_again(
    url: str, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with host(url, tmp_path / "first"):
        build(tmp_path / "first")
    place = tmp_path / "bucket/prefix" / TEACHER
    (file,) = [path for path in place.iterdir() if path.name != RECORD]
    record: dict[str, Any] = json.loads((place / RECORD).read_text(encoding="utf-8"))
    if damage == "changed":
        file.write_text("[]", encoding="utf-8")
    elif damage == "missing":
        file.unlink()
    elif damage == "record":
        (place / RECORD).write_text("{", encoding="utf-8")
    else:
        record.pop("digest")
        if damage == "outside":
            record["files"]["../../outside"] = file.name
        else:
            record["key"] = "bbbb00000001"
        (place / RECORD).write_text(json.dumps(record | {"digest": digest(record)}), encoding="utf-8")
    with host(url, tmp_path / "second"):
        assert not build(tmp_path / "second")
    assert f"{url}/{TEACHER} is damaged" in caplog.text and str(tmp_path / "second") not in caplog.text
    assert not [*tmp_path.rglob("outside")]
    with host(url, tmp_path / "third"):
        assert build(tmp_path / "third")


def test_margins_are_those_of_all_hosts(url: str, tmp_path: Path) -> None:
    """Whoever takes finished stages takes the margin that was fixed before them, and cannot fix another."""
    config = DictConfig({"margin": 0.02, "margin_metric": "micro_f1"})
    for name, margin, caveat in (("first", 0.02, ""), ("second", 0.02, ""), ("third", 0.01, "margin changed from 2")):
        root = tmp_path / name
        config.margin = margin
        with host(url, root):
            protocol = fix_protocol(config, [root / TEACHER], ["micro_f1"])
            assert protocol is not None and protocol.caveat.startswith(caveat) and bool(protocol.caveat) == bool(caveat)
            build(root)


def test_a_margin_is_not_replaced_while_the_url_cannot_be_read(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DictConfig({"margin": 0.02, "margin_metric": "micro_f1"})
    with host(url, tmp_path / "first"):
        fix_protocol(config, [tmp_path / "first" / TEACHER], ["micro_f1"])
    (place,) = (tmp_path / "bucket").rglob(f"{TEACHER}.json")
    first = place.read_bytes()

    def unread(path: str) -> bytes:
        raise ConnectionError(f"{path} is away")

    config.margin = 0.05
    with host(url, tmp_path / "second") as mirror, monkeypatch.context() as patch:
        patch.setattr(mirror._system, "cat_file", unread)
        fix_protocol(config, [tmp_path / "second" / TEACHER], ["micro_f1"])
    assert place.read_bytes() == first


def test_what_one_host_knows_of_results_all_know(url: str, tmp_path: Path) -> None:
    """Stages were removed from the first: the results may be known, and its margin stays the first."""
    config, root = DictConfig({"margin": 0.02, "margin_metric": "micro_f1"}), tmp_path / "first"
    with host(url, root):
        fix_protocol(config, [root / TEACHER], ["micro_f1"])
    close_protocols(root)
    (place,) = (tmp_path / "bucket").rglob(f"{TEACHER}.json")
    config.margin = 0.05
    for name in ("first", "second"):
        with host(url, tmp_path / name):
            protocol = fix_protocol(config, [tmp_path / name / TEACHER], ["micro_f1"])
        assert protocol is not None and protocol.caveat.startswith("margin changed from 2")
    place.write_bytes(place.read_bytes().replace(b"0.02", b"0.09"))
    with host(url, root):
        protocol = fix_protocol(config, [root / TEACHER], ["micro_f1"])
    assert protocol is not None and protocol.caveat.startswith("margin changed from 2"), "damage is not taken"


def test_what_lies_at_a_url_is_listed_checked_and_cleaned(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Path("outputs/store")
    with host(url, store):
        build(store)
    place = tmp_path / "bucket/prefix"
    (place / TASK).mkdir()
    for name in (f"{TASK}/{'0' * 64}", f"{TEACHER}/{'1' * 64}"):
        (place / name).touch()
        os.utime(place / name, (0, 0))

    def printed(*words: str) -> list[str]:
        store_command([words[0], f"store={url}", *words[1:]])
        return capsys.readouterr().out.splitlines()

    rows = {line.split()[0]: line.split() for line in printed("ls")}
    assert rows[TASK][1] == "unfinished" and rows[TEACHER][1] == rows[TEACHER][-1] == "whole"
    assert [line.split()[-1] for line in printed("verify")][:1] == ["whole"]
    assert "can be removed: 2 files" in printed("gc")[-1] and "removed: 2 files" in printed("gc", "confirm=true")[-1]
    assert "can be removed: 0 files" in printed("gc", "days=0")[-1] and not [*(place / TASK).iterdir()]
    (file,) = [path for path in (place / TEACHER).iterdir() if path.name != RECORD]
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="got 1 of 1 folders"):
        store_command(["verify", f"store={url}"])
    assert "is not the file that was recorded" in capsys.readouterr().out
    for words in (["export", TEACHER, f"store={url}"], ["gc", f"store={url}", "runs=none"], ["ls", "staging=other"]):
        with pytest.raises(ConfigError, match="URL"):
            store_command(words)


def test_notes_leave_only_where_the_corpus_and_the_command_line_allow_it(url: str, tmp_path: Path) -> None:
    config = compose("config", [f"store={url}", f"staging={tmp_path}/own"])
    composed = OmegaConf.create(OmegaConf.to_container(config))
    composed.store, composed.task.corpus = "outputs/store", {}
    closed = {"root": str(tmp_path), "corpus": {"_target_": "clinlm.corpora.mimic.mimic3.Mimic3", "_partial_": True}}
    unlabelled = {"_target_": "clinlm.training.augmentation.unlabelled_notes.UnlabelledNotes", **closed}
    others = {"_target_": "clinlm.training.augmentation.several.Several", "parts": {"other": unlabelled}}
    open_ = {"corpus": OmegaConf.to_container(config.task.corpus)}

    def with_settings(**settings: Any) -> DictConfig:
        return OmegaConf.merge(composed, settings)  # type: ignore[return-value]

    for settings, told in (
        ({"upload": "notes"}, "upload must be set with a store that is a URL"),
        ({}, "staging must be set with a store that is a URL"),
        ({"store": url, "upload": "all"}, "upload must be one of models, notes, none, got 'all'"),
        ({"store": "ftp://me:secret@host/x"}, r"without a name and password.*store=ftp://host/x"),
        (
            {"store": url, "task": closed, "upload": "none"},
            r"notes of Mimic3 \(task\), which are under an agreement",
        ),
        (
            {"store": url, "task": open_, "stages": {"student": {"augmentation": others}}},
            r"new texts \(stages.student.augmentation\) from notes under an agreement",
        ),
        ({"store": "odd://bucket", "task": open_}, "whose library is installed, got odd://bucket"),
    ):
        with pytest.raises(ConfigError, match=told) as error, opened_store(with_settings(**settings)):
            pass
        assert "secret" not in str(error.value)
    with opened_store(config) as root:
        assert root == tmp_path / "own" and config.task.root == f"{root}/synthetic"
    for name, value in (("store", url), ("upload", "notes")):
        made, typed = with_settings(**{name: value}), [f"{name}={value}"]
        refuse_untyped_uploads(made, typed)
        refuse_untyped_uploads(made, typed, made)
        for words, whole in (
            (["seed=1"], None),
            (typed, composed),
        ):  # a yaml sets it: that of an experiment, of a sweep
            with pytest.raises(ConfigError, match="must be typed on the command line"):
                refuse_untyped_uploads(made, words, whole)
    with pytest.raises(ConfigError, match="answers of labelers stay"):
        LabelSettings.of([f"store={url}", "input=notes.csv", "output=answers.jsonl"])
