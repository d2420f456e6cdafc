"""Parsers of bytes that `torture.fuzz` attacks: files that each reads, what must hold, and where its branches are."""

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.fhir.fhir import Fhir
from clinlm.corpora.span_table import SpanTable
from clinlm.files.plain_text import BOM, encoding_of
from clinlm.files.record import Position
from clinlm.files.sources import SEPARATORS, find_separator, open_source, read_table
from clinlm.labelers.llm_grounding import Grounding
from clinlm.labelers.llm_prompt import MalformedAnswerError, parse_entities
from clinlm.models.checkpoint_files import read_config, weight_files
from clinlm.models.checkpoint_place import adapter_base
from torture.corpora import small_corpora
from torture.inputs import Input, brat, corpus_inputs, single_inputs


class Parser(NamedTuple):
    """What reads one format.

    Attributes:
        modules: prefixes of the names of the modules whose branches lead the fuzzer.
        inputs: writes its files into a new folder, and returns them.
        share: how many inputs of a hundred it gets.
        tokens: what has a meaning in its format.
    """

    name: str
    modules: tuple[str, ...]
    inputs: Callable[[Path], list[Input]]
    share: int
    tokens: tuple[bytes, ...] = ()


_COLUMNS: Final = ["id", "text"]
_SEP: Final = re.compile(r'"?sep=([,;|\t])"?\r?\n')
_NOTE: Final = "Fever and fever after aspirin; ﬁbrosis, “gout” – naïve 😀 pain."
_CELLS: Final = ('"[{""start"": 0, ""end"": 5, ""label"": ""X""}]"', "[]", "\"[[0, 3, 'Y'], (1, 5, ['X', 'Z'])]\"")
_ANSWER: Final = """<think>{"entities": []}</think> Here it is:
```json
{"entities": [{"text": "fever", "label": "X", "occurrence": 2}, {"text": "Aspirin", "label": "Y"}]}
```
"""


def _agreed(path: Path) -> None:
    """Read a table as a whole, note by note, and delimited text by Python's own reader: all must agree."""
    table = read_table(path, _COLUMNS)
    found = list(open_source(path, "text", "id").records(Position()))
    assert len(found) == table.height, f"{table.height} rows, {len(found)} records"
    for record, id, text in zip(found, *table.get_columns(), strict=True):
        assert record.text is None or (record.id, record.text) == (id, text), f"record {record.line} differs"
    if path.suffix not in SEPARATORS or encoding_of(path) is not None or path.read_bytes()[:2] == b"\x1f\x8b":
        return
    content = _SEP.sub("", path.read_bytes().removeprefix(BOM).decode(), count=1) if _told(path) else None
    lines = io.StringIO(content or path.read_bytes().removeprefix(BOM).decode(), newline="")
    separator = find_separator(path, _COLUMNS, ",")
    names, *rows = [row for row in csv.reader(lines, delimiter=separator, strict=True) if row]
    places = [[name.strip() for name in names].index(column) for column in _COLUMNS]
    theirs = [[row[place] for place in places] for row in rows]
    assert [[cell or "" for cell in row] for row in table.rows()] == theirs, "Python's reader reads other cells"


def _told(path: Path) -> bool:
    return _SEP.match(path.read_bytes().removeprefix(BOM).decode()) is not None


def _resumed(path: Path) -> None:
    """Read notes from the start, and again from places between them: the rest must be the same."""
    source = open_source(path, "text", "id")
    found = list(source.records(Position()))
    for place in {0, len(found) // 2, len(found) - 2} & {*range(len(found))}:
        assert list(source.records(found[place].after)) == found[place + 1 :], f"resumed after {place + 1}: differs"


def _answered(path: Path) -> None:
    """Parse the answer of a language model, and find what it names in a note."""
    try:
        entities = parse_entities(path.read_bytes().decode("utf-8", "surrogateescape"))
    except MalformedAnswerError as error:
        raise DataError(str(error)) from None
    found = Grounding(_NOTE).verify(entities, ["X", "Y"], 0, len(_NOTE))
    assert all(0 <= span.start < span.end <= len(_NOTE) for span in found.spans), "a span leaves its note"


def _saved(path: Path) -> None:
    """Read what `datasets` saved, of which `path` is a file."""
    read_table(path.parent, ["text", "one"])


def _of_kinds(*kinds: str) -> Callable[[Path], list[Input]]:
    """Return what gives the inputs of these kinds: the beginnings of names, or names of corpora."""

    def inputs(place: Path) -> list[Input]:
        found = [one for one in single_inputs(place, place) if one.name.startswith(kinds)]
        found = [one for one in found if not one.name.endswith(".gz")]
        for name, corpus, root in (brat(place), *small_corpora(place / "corpora")):
            found += corpus_inputs(corpus, root) if name in kinds else []
        for read in (_agreed, _resumed):
            found += [one._replace(read=read) for one in {one.name: one for one in found}.values() if _is_notes(one)]
        return found

    return inputs


def _is_notes(one: Input) -> bool:
    return one.name.startswith("notes.")


def _json(place: Path) -> list[Input]:
    """Return the inputs of JSON Lines, of an array, and of JSON in a cell."""
    found = _of_kinds("notes.jsonl", "labelled.jsonl", "spans.")(place)
    (place / "cells").mkdir()
    rows = [f"{number},fever,{cell}\n" for number, cell in enumerate(_CELLS)]
    cells = "".join(["id,text,spans\n", *rows]).encode()
    (place / "cells" / "spans.csv").write_bytes(cells)
    found.append(Input("spans.csv", place / "cells", cells, lambda path: SpanTable(path, id="id").records()))
    notes = [one for one in found if _is_notes(one)]
    array = b"[" + b",".join(notes[0].content.splitlines()) + b"]"
    for one in notes:
        (one.folder / "notes.json").write_bytes(array)
    return [*found, *(one._replace(name="notes.json", content=array) for one in notes)]


def _checkpoints(place: Path) -> list[Input]:
    (place / "adapter").mkdir()
    inputs = [
        Input(
            "config.json", place, b'{"model_type": "bert", "hidden_size": 32}', lambda path: read_config(path.parent)
        ),
        Input("model.safetensors.index.json", place, b'{"weight_map": {"a": "a.safetensors"}}', _weights),
        Input(
            "adapter_config.json",
            place / "adapter",
            b'{"peft_type": "LORA", "base_model_name_or_path": "bert", "revision": null}',
            lambda path: adapter_base(path.parent),
        ),
    ]
    (place / "a.safetensors").write_bytes(len(b"{}").to_bytes(8, "little") + b"{}")
    for one in inputs:
        (one.folder / one.name).write_bytes(one.content)
    return inputs


def _weights(path: Path) -> None:
    weight_files(path.parent)


def _fhir(place: Path) -> list[Input]:
    subject, stay = {"subject": {"reference": "Patient/1"}}, {"reference": "Encounter/2"}
    data = base64.b64encode("fièvre, cough".encode("latin-1")).decode()
    document: dict[str, Any] = {
        "resourceType": "DocumentReference",
        "id": "3",
        "date": "2020-01-02",
        "status": "current",
    }
    document |= {"content": [{"attachment": {"contentType": "text/plain; charset=latin-1", "data": data}}], **subject}
    document |= {"context": {"encounter": [stay]}, "type": {"coding": [{"code": "a", "display": "Note"}]}}
    code = {"coding": [{"system": "http://s", "code": "A1", "display": "x"}]}
    condition = {"resourceType": "Condition", "code": code, "encounter": stay, **subject}
    condition |= {"verificationStatus": {"coding": [{"code": "confirmed"}]}}
    person = {"resourceType": "Patient", "id": "1", "gender": "female", "birthDate": "1950-05-06"}
    for resource in (document, condition, person):
        (place / f"{resource['resourceType']}.ndjson").write_text(f"{json.dumps(resource)}\n", encoding="utf-8")
    return corpus_inputs(Fhir(place), place)


def _datasets(place: Path) -> list[Input]:
    names = {"names": ["flu", "gout"], "_type": "ClassLabel"}
    frame = pl.DataFrame({"text": ["a", "b", "c"], "one": [0, 1, -1]})
    (place / "all" / "train").mkdir(parents=True)
    (place / "all" / "dataset_dict.json").write_text('{"splits": ["train"]}', encoding="utf-8")
    frame.write_ipc_stream(place / "all" / "train" / "a.arrow")
    told = {"state.json": {"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": None}}
    told["dataset_info.json"] = {"features": {"text": {"dtype": "string", "_type": "Value"}, "one": names}}
    for name, content in told.items():
        (place / "all" / "train" / name).write_text(json.dumps(content), encoding="utf-8")
    parts = [place / "all" / "dataset_dict.json", *((place / "all" / "train" / name) for name in told)]
    return [Input(path.name, path.parent, path.read_bytes(), _saved) for path in parts]


def _answers(place: Path) -> list[Input]:
    (place / "answers").mkdir()
    (place / "answers" / "answer.txt").write_text(_ANSWER, encoding="utf-8")
    return [Input("answer.txt", place / "answers", _ANSWER.encode(), _answered)]


_JSON: Final = (b"true", b"null", b"[]", b"{}", b'""', b"1", b'"\\ud800"', b'":', b",", b'{"a":[{"b":1}]}')
_XML: Final = (
    *(b"<?xml version='1.0' encoding='utf-7'?>", b"<?xml version='1.0' encoding='x'?>", b"<![CDATA[", b"]]>", b"<!--"),
    *(b"-->", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&#0;", b"&amp;", b"xmlns:a='b'", b"a:", b"<?a b?>", b"/>"),
)
_READERS: Final = ("clinlm.files.sources", "clinlm.files.plain_text", "clinlm.files.columns", "clinlm.files.record")
_SPANS: Final = ("clinlm.corpora.standoff", "clinlm.corpora.offsets", "clinlm.corpora.span_records")
PARSERS: Final = (
    Parser(
        "delimited text",
        (
            *("clinlm.files.delimited", "clinlm.files.unquoted", "clinlm.files.peek", *_READERS),
            *("clinlm.corpora.table", "clinlm.corpora.label_cells", "clinlm.terminology.dictionary"),
        ),
        _of_kinds("notes.csv", "labelled.csv", "words.csv"),
        24,
        (b"sep=;\n", b'""', b'"\n', b'",', b"id,text\n", b"id\ttext\n", b"['a', 'b']", b"\n" * 64),
    ),
    Parser(
        "JSON",
        ("clinlm.files.json_lines", "clinlm.files.peek", *_READERS, "clinlm.corpora.span_table", *_SPANS),
        _json,
        16,
        (*_JSON, b'"text":', b'"id":', b'"spans":', b"\n"),
    ),
    Parser(
        "stand-off annotations",
        (
            *("clinlm.corpora.brat", "clinlm.corpora.pubtator", "clinlm.corpora.i2b2.i2b2_concepts", *_SPANS),
            *("clinlm.corpora.label_studio", "clinlm.terminology.spans", "clinlm.files.plain_text"),
        ),
        _of_kinds("brat", "concepts", "pubtator", "label_studio"),
        20,
        (*_JSON, b"T1\t", b"X 0 5;6 9\t", b"||t=", b'c="', b"1:1 2:0", b"|t|", b"|a|", b"\tCID\t", b"\t-1\t-1\t"),
    ),
    Parser(
        "CoNLL",
        ("clinlm.corpora.conll", "clinlm.corpora.tag_", "clinlm.corpora.span_records", "clinlm.files.plain_text"),
        _of_kinds("train.conll"),
        8,
        (b"-DOCSTART-\n", b"# newdoc id = a\n", b"token tag\n", b"B-", b"\tE-X\n", b"|", b"S-", b"\n\n", b",", b";"),
    ),
    Parser("XML", ("clinlm.corpora.i2b2",), _of_kinds("smoking", "obesity"), 8, _XML),
    Parser(
        "vocabularies",
        ("clinlm.terminology", "clinlm.files.plain_text"),
        _of_kinds("file."),
        8,
        (b"[Term]\n", b"is_obsolete: true\n", b'synonym: "', b'" EXACT []', b"is_a: ", b" ! ", b" {a=b}", b"\\n", b"|"),
    ),
    Parser("FHIR", ("clinlm.corpora.fhir", "clinlm.files.json_lines"), _fhir, 8, (*_JSON, b"charset=utf-16", b"/1")),
    Parser(
        "checkpoints", ("clinlm.models.checkpoint_",), _checkpoints, 2, (*_JSON, b'"model_type":', b'"weight_map":')
    ),
    Parser("saved datasets", ("clinlm.files.arrow",), _datasets, 3, (*_JSON, b'"names":', b'"feature":', b"../")),
    Parser(
        "answers of language models",
        ("clinlm.labelers.llm_prompt", "clinlm.labelers.llm_grounding", "clinlm.text.words"),
        _answers,
        4,
        (*_JSON, b"<think>", b"</think>", b'"occurrence":', b'"entities":', "ﬁ".encode(), b"{" * 64),
    ),
    Parser(
        "settings",
        ("clinlm.config", "clinlm.predict.settings", "clinlm.cli.remedies"),
        _of_kinds("overrides"),
        1,
        (
            b"${",
            b"}",
            b"+",
            b"~",
            b"@",
            b"=",
            b"[",
            b"{a: b}",
            b"_target_=",
            b"\\",
            b"'",
            b"???",
            b"null",
            b"${oc.env:A}",
        ),
    ),
)
"""What is fuzzed, in this order: a fork each."""
