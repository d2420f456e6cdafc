"""Laws of the exports of annotation tools: what is written comes back, and every oddity by hand."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from clinlm.config.errors import DataError
from clinlm.config.validation import CONF
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.label_studio import LabelStudio

WORDS = ("iron", "😀", "pill", "é", "pain,", "no")
Document = tuple[str, list[tuple[int, int, str]]]


def documents(seed: int, count: int = 40) -> list[Document]:
    """Texts of words, and distinct spans of one word or two."""
    rng, found = random.Random(seed), []
    for number in range(count):
        words = [*rng.choices(WORDS, k=rng.randint(1, 9)), str(number)]
        text, edges = "", []
        for word in words:
            edges.append((len(text), len(text) + len(word)))
            text += f"{word} "
        places = rng.sample(range(len(words) - 1), k=min(len(words) - 1, rng.randint(0, 2)))
        found.append((text, sorted((edges[p][0], edges[p + 1][1], rng.choice("AB")) for p in places)))
    return found


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def result(text: str, span: tuple[int, int, str], browser: bool) -> dict[str, Any]:
    start, end, label = span
    edges = (units(text[:start]), units(text[:end])) if browser else (start, end)
    value = {"start": edges[0], "end": edges[1], "text": text[start:end], "labels": [label]}
    return {"id": "x", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def task(number: int, document: Document, kind: str, browser: bool) -> dict[str, Any]:
    text, spans = document
    results = [result(text, span, browser) for span in spans]
    if kind == "min":
        return {"id": number, "text": text, "ward": f"w{number % 7}", "label": [one["value"] for one in results]}
    wrong = {"was_cancelled": True, "result": [result(text, (0, 1, "WRONG"), browser)]}
    older = {"result": [result(text, (0, 1, "WRONG"), browser)]}
    own = {"ground_truth": number % 2 == 0, "result": [*results, {"type": "relation", "from_id": "x"}]}
    order = [wrong, own, older] if number % 2 == 0 else [older, own, wrong]
    data = {"text": text, "ward": f"w{number % 7}"}
    return {"id": number, "data": data, "annotations": order, "predictions": [older]}


def found(records: Any) -> list[Document]:
    rows = records.frame.select("text", "spans").iter_rows()
    return [(text, [(one["start"], one["end"], one["label"]) for one in spans]) for text, spans in rows]


@pytest.mark.parametrize("browser", [True, False])
@pytest.mark.parametrize(("kind", "ending"), [("full", "json"), ("full", "jsonl"), ("min", "json"), ("min", "jsonl")])
def test_spans_come_back_where_they_were_written(tmp_path: Path, kind: str, ending: str, browser: bool) -> None:
    right = documents(2)
    tasks = [task(number, document, kind, browser) for number, document in enumerate(right)]
    path = tmp_path / f"export.{ending}"
    lines = "".join(json.dumps(one) + "\n" for one in tasks)
    path.write_text(lines if ending == "jsonl" else json.dumps(tasks, indent=1))
    records = LabelStudio(path, group="ward").records()
    assert records.frame.columns == [*COLUMNS, "spans"] and found(records) == right
    assert records.frame["group"].to_list() == [f"w{number % 7}" for number in range(40)]
    assert any("by units of UTF-16" in notice for notice in records.notices) == browser
    if kind == "full":
        assert "40 annotations left out: of tasks with another, the ground truth or the last" in records.notices
        assert any("results not read" in notice for notice in records.notices)


def made(root: Path, *tasks: Any) -> LabelStudio:
    path = root / "export.json"
    path.write_text(json.dumps([*tasks]))
    return LabelStudio(path)


def test_tasks_that_nobody_annotated_are_dropped_and_counted(tmp_path: Path) -> None:
    whole = task(1, ("iron pill 1 ", [(0, 4, "A")]), "full", False)
    bare = whole | {"id": 2, "annotations": []}
    skipped = whole | {"id": 3, "annotations": [{"was_cancelled": True, "result": []}]}
    empty = whole | {"id": 4, "data": {"text": " "}}
    none = whole | {"id": 5, "data": {"text": "nothing here"}, "annotations": [{"result": []}]}
    records = made(tmp_path, whole, bare, skipped, empty, none).records()
    assert records.frame["id"].to_list() == ["1", "5"]
    assert "1 tasks dropped: empty text" in records.notices
    assert "2 tasks dropped: nobody annotated them, or all who did skipped them" in records.notices


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"data": {"note": "secret"}}, r"must have 'text' as text, export.json, item 1 has not \(it has note\)"),
        ({"data": {"text": 7}}, "must have 'text' as text"),
        ({"data": "secret"}, "must have 'text' as text"),
        ({"data": {"text": "secret", "meta": [{"\ud800": 1}]}}, "text with half a surrogate pair"),
        ({"annotations": [{"result": [{"type": "labels", "value": {"labels": ["A"]}}]}]}, "must have start, end"),
        (
            {
                "annotations": [
                    {"result": [{"type": "labels", "value": {"start": "1" * 5000, "end": 9, "labels": ["A"]}}]}
                ]
            },
            "must have start, end",
        ),
        ({"annotations": True}, "a corpus must have a note"),
        ({"annotations": [{"result": [{"type": "choices", "value": {"choices": ["secret"]}}]}]}, "must have a span"),
    ],
)
def test_bad_exports_are_errors_without_text(tmp_path: Path, change: dict[str, Any], law: str) -> None:
    with pytest.raises(DataError, match=law) as error:
        made(tmp_path, task(1, ("secret pill ", []), "full", False) | change).records()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("relations", [False, True])
def test_doccano(tmp_path: Path, relations: bool) -> None:
    right = [document for document in documents(4) if "😀" not in document[0]]
    path = tmp_path / "all.jsonl"
    rows = []
    for number, (text, spans) in enumerate(right):
        entities = [{"id": 1, "start_offset": a, "end_offset": b, "label": label} for a, b, label in spans]
        own = {"entities": entities, "relations": []} if relations else {"label": [list(span) for span in spans]}
        rows.append({"id": number, "text": text, **own, "Comments": []})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = {"spans": "entities", "keys": ["start_offset", "end_offset", "label"]} if relations else {}
    corpus = instantiate(OmegaConf.load(CONF / "corpus/doccano.yaml"))(root=path, **chosen)
    assert found(corpus.records()) == right
