"""Files of notes, spans, labels and vocabularies with random bytes changed: a reader reads them, or refuses by name."""

import gzip
import io
import json
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl
from support.broken_models import WAYS

from clinlm.config.errors import ClinlmError
from clinlm.corpora.brat import Brat
from clinlm.corpora.conll import Conll
from clinlm.corpora.mimic.mimic3 import Mimic3
from clinlm.corpora.pubtator import Pubtator
from clinlm.corpora.span_table import SpanTable
from clinlm.corpora.synthetic.tables import SyntheticTables
from clinlm.corpora.table import Table
from clinlm.files.peek import peek_table
from clinlm.files.record import Position
from clinlm.files.sources import check_columns, open_source, read_table, table_notices
from clinlm.terminology.base import TermSource
from clinlm.terminology.dictionary import Dictionary
from clinlm.terminology.obo import Obo
from clinlm.terminology.rf2 import Rf2
from clinlm.terminology.rxnconso import Rxnconso
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
_BRAT: Final = {"a.txt": "fever, cough", "a.ann": "T1\tS 7 12\tcough\nT2\tS 0 5\tfever\nE1\tS:T1\n#1\tNotes T1\tx\n"}


class Input(NamedTuple):
    """A file that is broken, those beside it, and what reads it."""

    name: str
    content: bytes
    read: Reader
    beside: Mapping[str, bytes] = {}


def _notes(path: Path) -> None:
    list(open_source(path, "text", "id").records(Position()))
    peek_table(path, 5)
    check_columns(path, ["id", "text"])
    table_notices(path, ["id", "text"])
    read_table(path, ["id", "text"])


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


def inputs(place: Path) -> list[Input]:
    """Return a small valid file of every kind, plain and where that is read compressed; `place` is a new folder."""
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in _ROWS.to_dicts()]
    parquet = io.BytesIO()
    _ROWS.write_parquet(parquet)
    delimited = _ROWS.select("id", "text", pl.col("labels").list.join(",")).write_csv()
    plain = [
        Input("notes.csv", delimited.encode(), _notes),
        Input("labelled.csv", delimited.encode(), _labelled),
        Input("notes.jsonl", "".join(rows).encode(), _notes),
        Input("labelled.jsonl", "".join(rows).encode(), _labelled),
        Input("spans.jsonl", "".join(rows).encode(), _spans),
        Input("file.obo", _OBO.encode(), _vocabulary(lambda file: Obo(file, "A"))),
        Input("file.rrf", _RXNCONSO.encode(), _vocabulary(lambda file: Rxnconso(file, "A"))),
        Input("file.txt", _RF2.encode(), _vocabulary(lambda file: Rf2(file, {"disorder": "A"}))),
        Input("words.csv", b"name,more\nfever,hot | warm\ncough,\n", _vocabulary(_dictionary)),
        Input("pubtator.txt", _PUBTATOR.encode(), lambda path: Pubtator(path).records()),
        Input("train.conll", (_CONLL * 3).encode(), lambda path: Conll(path).records()),
    ]
    packed = [one._replace(name=f"{one.name}.gz", content=gzip.compress(one.content)) for one in plain]
    columns = [Input(f"{read.__name__}.parquet", parquet.getvalue(), read) for read in (_notes, _labelled, _spans)]
    brat = {name: text.encode() for name, text in _BRAT.items()}
    folders = [Input(name, content, lambda path: Brat(path.parent).records(), brat) for name, content in brat.items()]
    SyntheticTables(12, 0, "brief").write(place)
    tables = {path.name: path.read_bytes() for path in sorted(place.glob("*.csv"))}
    mimic = [
        Input(name, content, lambda path: Mimic3(path.parent).records(), tables) for name, content in tables.items()
    ]
    return [*plain, *packed, *columns, *folders, *mimic]


def _dictionary(file: str) -> Dictionary:
    return Dictionary(file, "A", ["name", "more"], ",", " | ")


def broken_inputs(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Read `count` broken files, every kind in turn; of compressed ones, half are broken inside."""
    (place / "tables").mkdir(parents=True)
    kinds = inputs(place / "tables")
    for number in range(count):
        one = kinds[number % len(kinds)]
        folder = place / one.name.replace(".", "_")
        folder.mkdir(exist_ok=True)
        for name, content in one.beside.items():
            (folder / name).write_bytes(content)
        way = rng.choice([name for name in WAYS if name not in ("deleted", "retyped")])
        inside = one.name.endswith(".gz") and rng.random() < 0.5
        broken = WAYS[way](gzip.decompress(one.content) if inside else one.content, rng) or b""
        (folder / one.name).write_bytes(gzip.compress(broken) if inside else broken)
        yield _read(f"{way}{' inside' if inside else ''}: {one.name}, number {number}", one, folder / one.name)


def _read(attack: str, one: Input, path: Path) -> Verdict:
    try:
        one.read(path)
    except ClinlmError as error:
        said = str(error)
        secret = next((text for text in _ROWS["text"].to_list() if text in said), "")
        return Verdict(attack, "printed a note" if secret else "refused in a paragraph", not secret, said)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # polars' panics are no `Exception`
        return Verdict(attack, f"{type(error).__name__}", False, traceback.format_exc())
    return Verdict(attack, "read", True)
