"""Label Studio: texts with the spans that people marked, as its exports have them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from clinlm.config.errors import DataError
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.standoff import Annotated, Annotation, locate, standoff_notices
from clinlm.files.columns import shown
from clinlm.files.json_lines import numbered_objects
from clinlm.files.record import Number
from clinlm.terminology.spans import Span

_MARKED: Final = "labels"
"""Type of a result that marks characters of a plain text."""

_OFFSET: Final = re.compile("[0-9]{1,15}")
_EMPTY = "tasks dropped: empty text"
_NOBODY = "tasks dropped: nobody annotated them, or all who did skipped them"
_OTHERS = "results not read: relations, choices, and labels of no plain text"
_MORE = "annotations left out: of tasks with another, the ground truth or the last"


@final
class LabelStudio(Corpus):
    """One record per task of an export: its text, and its spans. Records keep the file's order.

    Reads JSON (`data`, `annotations` with `result`) and JSON-MIN (`label`, a list of spans beside the data), as an
    array in .json, or a task a line in .jsonl. Of several annotations of a task, one marked as ground truth is taken,
    else the last; skipped ones (was_cancelled) are none, and predictions are not read. A task that nobody annotated is
    dropped, and counted; one without spans stays. What offsets count (UTF-16, as browsers do, or characters) is found
    by the words of the spans (`clinlm.corpora.standoff.locate`); a span without its words at its offsets is dropped,
    and a notice names it.

    id = the task's id, or its place in the file. No attributes. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the file.
        text: name of the text in `data`.
        group: name in `data` of what must not span two splits, such as the patient; None takes the id.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        spans: name of the list of spans in JSON-MIN, which is that of the control in the labeling configuration.
    """

    remote_allowed = False

    def __init__(
        self,
        root: str | Path,
        text: str = "text",
        group: str | None = None,
        map: Mapping[str, str] | None = None,
        spans: str = "label",
    ) -> None:
        self.root: Path = Path(root)
        self.text, self.group, self.map, self.spans = text, group, map, spans

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a task has no text or group under its name, or a span is none.
        """
        counts: Counter[str] = Counter()
        annotated, groups = list[Annotated](), list[str]()
        for place, task in numbered_objects(self.root):
            where = f"{self.root.name}, item {place:,}"
            data = task.get("data", task)
            text, group = self._filled(data, self.text, where), self._filled(data, self.group, where)
            results = self._results(task, counts)
            if results is None or text is None or not text.strip():
                counts[_NOBODY if results is None else _EMPTY] += 1
                continue
            id = str(task.get("id") or place)
            annotated.append(Annotated(id, text, list(_annotations(results, counts, where))))
            groups.append(group or id)
        located = locate(annotated)
        documents = []
        for own, placed, group in zip(annotated, located, groups, strict=True):
            both = zip(own.annotations, placed.fragments, strict=True)
            spans = [Span(part[0], part[1], one.label) for one, found in both for part in found or ()]
            documents.append(SpanDocument(own.name, group, placed.text, spans))
        told = count_notices((counts[what], what) for what in (_EMPTY, _NOBODY, _MORE, _OTHERS))
        return span_records(documents, self.map, [*told, *standoff_notices(annotated, located)])

    def fingerprint(self) -> str:
        return digest_files([self.root])

    def _filled(self, data: Any, name: str | None, where: str) -> str | None:
        """Return what the data has under a name; None if that is null."""
        if name is None:
            return None
        value = data.get(name, ...) if isinstance(data, dict) else ...
        number = name == self.text and isinstance(value, Number)
        if value is not None and (number or not isinstance(value, str)):
            there = f" (it has {shown([str(key) for key in data])})" if isinstance(data, dict) else ""
            raise DataError(f"the data of a task must have {name!r} as text, {where} has not{there}; set text or group")
        return value

    def _results(self, task: Mapping[str, Any], counts: Counter[str]) -> Sequence[Any] | None:
        """Return the results of the annotation that counts; None without any."""
        if "annotations" not in task:
            found = task.get(self.spans)
            return [{"type": _MARKED, "value": value} for value in found] if isinstance(found, list) else None
        every = task["annotations"] if isinstance(task["annotations"], list) else ()
        valid = [one for one in every if isinstance(one, dict) and not one.get("was_cancelled")]
        if not valid:
            return None
        counts[_MORE] += len(valid) - 1
        truth = [one for one in valid if one.get("ground_truth")]
        chosen = (truth or valid)[-1].get("result")
        return chosen if isinstance(chosen, list) else []


def _annotations(results: Sequence[Any], counts: Counter[str], where: str) -> Iterator[Annotation]:
    for number, result in enumerate(results, start=1):
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict) or result.get("type") != _MARKED or _MARKED not in value:
            counts[_OTHERS] += 1
            continue
        edges = [str(value.get(name, "")) for name in ("start", "end")]
        labels = value[_MARKED]
        if not all(map(_OFFSET.fullmatch, edges)) or not isinstance(labels, list):
            raise DataError(f"a span must have start, end and labels, {where} has one without; export it again")
        words = value.get("text")
        fragment = (int(edges[0]), int(edges[1]))
        for label in labels:
            yield Annotation(f"span {number:,}", str(label), (fragment,), words if isinstance(words, str) else None)
