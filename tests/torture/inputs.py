"""Files of notes, spans, labels, terms, corpora and settings with random bytes changed: read, or refused."""

import gzip
import io
import json
import logging
import os
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl
from support.broken_models import WAYS

from clinlm.cli.errors import is_fixable
from clinlm.config.errors import ClinlmError
from clinlm.config.settings import compose
from clinlm.corpora.base import Corpus
from clinlm.corpora.brat import Brat
from clinlm.corpora.conll import Conll
from clinlm.corpora.mimic.mimic3 import Mimic3
from clinlm.corpora.pubtator import Pubtator
from clinlm.corpora.span_table import SpanTable
from clinlm.corpora.synthetic.tables import SyntheticTables
from clinlm.corpora.table import Table
from clinlm.files.peek import peek_table
from clinlm.files.plain_text import BOM, open_bytes
from clinlm.files.record import Position
from clinlm.files.sources import check_columns, open_source, read_table, table_notices
from clinlm.predict.label import label_file
from clinlm.predict.model_answerer import predict_file
from clinlm.predict.settings import LabelSettings, PredictSettings
from clinlm.report.stress import StressSettings
from clinlm.terminology.base import TermSource
from clinlm.terminology.dictionary import Dictionary
from clinlm.terminology.obo import Obo
from clinlm.terminology.rf2 import Rf2
from clinlm.terminology.rxnconso import Rxnconso
from torture.corpora import corpora
from torture.runs import unbroken
from torture.subjects import ontology
from torture.verdicts import Verdict

Reader = Callable[[Path], object]
_ROWS: Final = pl.DataFrame(
    {
        "id": ["1", "2", "3"],
        "text": ['fever, "bad"\nand cough', "no toe pain é", "wheeze at 38.5 °C"],
        "labels": [["a", "b"], ["a"], ["b"]],
        "spans": [[{"start": 0, "end": 5, "label": "X"}], [], []],
    },
    schema_overrides={"spans": pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String}))},
)
_OBO: Final = """format-version: 1.2

[Term]
id: S:1
name: fever
synonym: "high temperature" EXACT []

[Term]
id: S:2
name: cough
is_a: S:1
"""
_RXNCONSO: Final = "1|ENG||||||A1|||||RXNORM|IN|1|aspirin||N||\n2|ENG||||||A2|||||RXNORM|BN|2|Aspro||N||\n"
_RF2: Final = (
    "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\r\n"
    "1\t2020\t1\tm\t7\ten\t900000000000003001\tHeart attack (disorder)\tc\r\n"
    "2\t2020\t1\tm\t7\ten\t900000000000013009\tMI\tc\r\n"
)
_PUBTATOR: Final = (
    "1|t|Fever after aspirin\n1|a|It and gout.\n1\t0\t5\tFever\tDisease\tD1\n1\t12\t19\taspirin\tDrug\tD2\n\n"
)
_CONLL: Final = "fever\tB-X\nbad\tI-X\nno\tO\ntoe\tB-Y\n\nmore\tO\ncough\tB-X\n\n"
_OVERRIDES: Final = """artifact=a
input=b
window=12
labeler=ontology
+labeler.sources.x={a: [1, 2], b: 'c'}
seed=0
prune.ratio=0.5
task=table
~stages.recover
"""
_BRAT: Final = {"a.txt": "fever, cough", "a.ann": "T1\tS 7 12\tcough\nT2\tS 0 5\tfever\nE1\tS:T1\n#1\tNotes T1\tx\n"}


_OFTEN: Final = 16
"""How often a file is broken that is read in a millisecond, for each of those whose reading takes ten or a hundred."""
TOKENS: Final = (
    *(b'"', b"'", b",", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\0", b"\\", b"{", b"}", b"[", b"]", b"<", b"&", b":"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x1f\x8b"),
    *(
        b"-1",
        b"0",
        b"1e309",
        b"NaN",
        b"null",
        b"true",
        b"99999999999999999999",
        b"\\ud800",
        b"${",
        b"[" * 2000,
        b"0" * 5000,
    ),
)
"""What has a meaning in one of the formats, or is no UTF-8, or is large."""


def spliced(content: bytes, rng: random.Random) -> bytes:
    """Take a part away, repeat it, or put one of `TOKENS` in its place; once to three times."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((0, 0, 1, 2, 8, 64)))
        between = rng.choice((b"", content[start:end] * rng.choice((2, 50)), *[rng.choice(TOKENS)] * 4))
        content = content[:start] + between + content[end:]
    return content


_WAYS: Final = {"spliced": (spliced, 12), "flipped": (WAYS["flipped"], 8), "cut": (WAYS["cut"], 3)} | {
    name: (WAYS[name], 1) for name in ("noise", "empty", "a pickle")
}
"""Name -> way and its weight; the last two have one outcome for each file."""


class Input(NamedTuple):
    """A file that is broken, in a folder with those beside it, and what reads it.

    Attributes:
        slow: whether reading it takes ten milliseconds and more.
    """

    name: str
    folder: Path
    content: bytes
    read: Reader
    slow: bool = False


def _records(path: Path) -> None:
    found = list(open_source(path, "text", "id").records(Position()))
    if path.suffix != ".jsonl":
        return
    with open_bytes(path) as file:
        content = file.read()
    if lines := sum(bool(line.strip()) for line in content.removeprefix(BOM).split(b"\n")):
        if not content.lstrip().startswith(b"["):
            assert len(found) == lines, f"{lines} lines, {len(found)} records"


def _peeked(path: Path) -> None:
    peek_table(path, 5)


def _checked(path: Path) -> None:
    check_columns(path, ["id", "text"])
    table_notices(path, ["id", "text"])


def _whole(path: Path) -> None:
    read_table(path, ["id", "text"])


_NOTES: Final = (_records, _peeked, _checked, _whole)
"""Readers of a table of notes."""


def _labelled(path: Path) -> None:
    Table(path, "text", "labels", id="id", delimiter=",").records()


def _spans(path: Path) -> None:
    SpanTable(path, id="id").records()


def _vocabulary(make: Callable[[str], TermSource]) -> Reader:
    def read(path: Path) -> None:
        source = make(path.name)
        source.terms(path.parent)
        source.notices(path.parent)
        source.fingerprint(path.parent)

    return read


def _answered(command: str, settings: Sequence[str]) -> Reader:
    """Return what answers a file: every record must be answered or rejected, and counted."""

    @cache
    def composed(path: Path) -> Any:
        places = [f"input={path}", f"output={path.parent / 'out.jsonl'}", "id=id"]
        return (PredictSettings if command == "predict" else LabelSettings).of([*places, *settings])

    def read(path: Path) -> None:
        for left in path.parent.glob("*out.jsonl*"):
            left.unlink()
        done = (predict_file if command == "predict" else label_file)(composed(path))
        records = sum(1 for _ in open_source(path, "text", "id").records(Position()))
        rejects = path.parent / "out.jsonl.rejects.jsonl"
        written = [
            len(file.read_bytes().splitlines()) if file.exists() else 0 for file in (path.parent / "out.jsonl", rejects)
        ]
        assert written == [done.documents, done.rejects] and sum(written) == records, f"{written} of {records}"

    return read


def _overrides(settings: Callable[[list[str]], object]) -> Reader:
    def read(path: Path) -> None:
        try:
            settings(path.read_bytes().decode("utf-8", "replace").replace("\0", "").splitlines())
        except Exception as error:
            if not is_fixable(error):
                raise

    return read


def inputs(place: Path, model: Path) -> list[Input]:
    """Return small valid files of every kind, plain and where that is read compressed, each written in its folder.

    Args:
        place: a new folder.
        model: answers notes.
    """
    found = single_inputs(place, model)
    (place / "tables").mkdir()
    SyntheticTables(12, 0, "brief").write(place / "tables")
    folders: list[tuple[str, Corpus, Path]] = [brat(place), ("mimic3", Mimic3(place / "tables"), place / "tables")]
    for name, corpus, root in [*folders, *corpora(place / "corpora")]:
        found += corpus_inputs(corpus, root, name not in _SMALL)
    return found


def single_inputs(place: Path, model: Path) -> list[Input]:
    """Return the inputs of one file each; arguments as of `inputs`."""
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in _ROWS.to_dicts()]
    parquet = io.BytesIO()
    _ROWS.write_parquet(parquet)
    delimited = _ROWS.select("id", "text", pl.col("labels").list.join(",")).write_csv()
    single: list[tuple[str, bytes, Reader]] = [
        *(("notes.csv", delimited.encode(), read) for read in _NOTES),
        ("labelled.csv", delimited.encode(), _labelled),
        *(("notes.jsonl", "".join(rows).encode(), read) for read in _NOTES),
        ("labelled.jsonl", "".join(rows).encode(), _labelled),
        ("spans.jsonl", "".join(rows).encode(), _spans),
        ("file.obo", _OBO.encode(), _vocabulary(lambda file: Obo(file, "A"))),
        ("file.rrf", _RXNCONSO.encode(), _vocabulary(lambda file: Rxnconso(file, "A"))),
        ("file.txt", _RF2.encode(), _vocabulary(lambda file: Rf2(file, {"disorder": "A"}))),
        ("words.csv", b"name,more\nfever,hot | warm\ncough,\n", _vocabulary(_dictionary)),
        ("pubtator.txt", _PUBTATOR.encode(), lambda path: Pubtator(path).records()),
        ("train.conll", (_CONLL * 3).encode(), lambda path: Conll(path).records()),
    ]
    single += [(f"{name}.gz", gzip.compress(content), read) for name, content, read in single]
    single += [(f"{read.__name__}.parquet", parquet.getvalue(), read) for read in (*_NOTES, _labelled, _spans)]
    (place / "terms.csv").write_text("name,more\nfever,\ntoe pain,\n", encoding="utf-8")
    answering = {
        "predict": [f"artifact={model}", "threads=1", "window=2"],
        "label": [*ontology(place), f"store={place / 'store'}", "window=2"],
    }
    for command, settings in answering.items():
        for ending, content in (("csv", delimited.encode()), ("jsonl", "".join(rows).encode())):
            single.append((f"{command}.{ending}", content, _answered(command, settings)))
    fast, own = len(single) - 2 * len(answering), (PredictSettings.of, LabelSettings.of, StressSettings.of)
    for settings_of in (*own, lambda words: compose("config", words)):
        single.append(("overrides", _OVERRIDES.encode(), _overrides(settings_of)))
    found = [
        Input(name, place / f"{number}", content, read, number >= fast)
        for number, (name, content, read) in enumerate(single)
    ]
    for one in found:
        one.folder.mkdir()
        (one.folder / one.name).write_bytes(one.content)
    return found


def brat(place: Path) -> tuple[str, Corpus, Path]:
    """Return name, corpus and the folder of its files, which are written."""
    (place / "brat").mkdir()
    for name, text in _BRAT.items():
        (place / "brat" / name).write_text(text, encoding="utf-8")
    return "brat", Brat(place / "brat"), place / "brat"


def corpus_inputs(corpus: Corpus, root: Path, slow: bool = False) -> list[Input]:
    """Return the files of a folder that a corpus reads, one input each."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and _is_read(path, corpus))
    return [Input(str(file.relative_to(root)), root, file.read_bytes(), _corpus(corpus), slow) for file in files]


_SMALL: Final = ("brat", "smoking", "obesity", "concepts", "label_studio", "mtsamples")
"""Corpora that are read in a millisecond."""


def _is_read(path: Path, corpus: Corpus) -> bool:
    """Return whether a corpus reads a file of its folder: whether it refuses noise in its place."""
    content = path.read_bytes()
    path.write_bytes(bytes(range(256)))
    try:
        corpus.records()
    except ClinlmError:
        return True
    finally:
        path.write_bytes(content)
    return False


def _corpus(corpus: Corpus) -> Reader:
    def read(path: Path) -> None:
        frame = corpus.records().frame
        corpus.fingerprint()
        for text, spans in frame.select("text", "spans").iter_rows() if "spans" in frame.columns else ():
            assert all(0 <= one["start"] < one["end"] <= len(text) for one in spans), "a span leaves its text"

    return read


def _dictionary(file: str) -> Dictionary:
    return Dictionary(file, "A", ["name", "more"], ",", " | ")


def broken_inputs(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Read `count` broken files, every kind in turn, the fast ones `_OFTEN`; of compressed ones, half inside."""
    model = next((unbroken().place / "store").glob("tfidf_int8-*"))
    os.environ["POLARS_MAX_THREADS"] = "1"  # of files this small, a second thread only waits
    logging.disable(logging.INFO)
    kinds = inputs(place, model)
    turns = [*kinds, *[one for one in kinds if not one.slow] * (_OFTEN - 1)]
    weights = [weight for _, weight in _WAYS.values()]
    for number in range(count):
        one = turns[number % len(turns)]
        (way,) = rng.choices([*_WAYS], weights)
        inside = one.name.endswith(".gz") and rng.random() < 0.5
        broken = _WAYS[way][0](gzip.decompress(one.content) if inside else one.content, rng) or b""
        path = one.folder / one.name
        path.write_bytes(gzip.compress(broken, 1) if inside else broken)
        yield judged(f"{way}{' inside' if inside else ''}: {one.folder.name}/{one.name}, number {number}", one, broken)
        path.write_bytes(one.content)


def judged(attack: str, one: Input, broken: bytes) -> Verdict:
    """Read an input whose file holds `broken`."""
    try:
        one.read(one.folder / one.name)
    except ClinlmError as error:
        said = str(error)
        told = _told(said, broken)
        return Verdict(attack, "printed a note" if told else "refused in a paragraph", not told, f"{told}: {said}")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # polars' panics are no `Exception`
        return Verdict(attack, f"{type(error).__name__}", False, traceback.format_exc())
    return Verdict(attack, "read", True)


def _told(said: str, content: bytes) -> str:
    """Return four words in a row of a message that are four of a file; "" where there are none."""
    words, own = said.split(), " ".join(content.decode("utf-8", "replace").split())
    return next((four for at in range(len(words) - 3) if (four := " ".join(words[at : at + 4])) in own), "")
