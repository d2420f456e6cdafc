"""Entity recognition: spans of a note that name a medication, a disease or a symptom."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus, Records
from clinlm.corpora.repeats import can_merge, straddling_notices, tie_repeats
from clinlm.corpora.split import SPLITS, draw_groups, split_documents
from clinlm.labelers.answer_cache import label_notes
from clinlm.labelers.base import LabeledNote, Labeler, Note
from clinlm.metrics.decisions import Thresholds
from clinlm.metrics.entity_evaluation import METRICS, EntityEvaluation
from clinlm.tasks.base import Calibrate, Task, dropped_notice
from clinlm.tasks.examples import Examples
from clinlm.terminology.spans import Span, flatten
from clinlm.text.contexts import contexts
from clinlm.text.group_floor import MIN_GROUPS
from clinlm.text.long_notes import LongNotes
from clinlm.text.tags import Tags
from clinlm.text.words import Words, words

PEOPLE: Final = "people"
"""The column of `Examples.frame` with the spans of people."""

LABELLED: Final = "labelled"
"""The column with the spans of the labeler; missing if people are the labeler."""

_SPANS = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String}))


@final
class Entities(Task):
    """Named entities, one BIO tag a word, as in "LLM and ontology labelers distilled into NER taggers".

    Words do not depend on a tokenizer (`clinlm.text.words`); the logits of a word are those of its first sub-word
    token. So teachers and students with different tokenizers predict the same words, and can be distilled into each
    other.

    Models train on the spans of a labeler, on training and validation documents; test documents are evaluated against
    the spans of people. Of entities that share a character the longest is kept (`clinlm.terminology.spans.flatten`),
    also of those of people. In training, an edge inside a word moves to the edge of the word; spans of test documents
    stay the same. All of this is counted in notices.

    Args:
        corpus, root, long_notes, max_tokens, seed, calibrate, min_groups: see `Task`; the corpus has spans.
        labeler: labels training and validation documents.
        labels: of entities; None for all that people used. Others are dropped, and counted.
        documents: least number of documents to choose, whole groups drawn at random; None for all.
        shares: of training, validation and test; summing to 1. A split defined by the corpus takes precedence.
        training_documents: least number of training documents to keep, as `documents`.

    Raises:
        ConfigError: (on opening) the corpus has no spans, or none of `labels`.
    """

    kind = "entities"

    def __init__(
        self,
        corpus: Callable[..., Corpus],
        root: str | None,
        long_notes: LongNotes,
        labeler: Labeler,
        labels: Sequence[str] | None = None,
        documents: int | None = None,
        max_tokens: int = 256,
        shares: Sequence[float] = (0.7, 0.1, 0.2),
        training_documents: int | None = None,
        seed: int = 0,
        calibrate: Calibrate = "none",
        min_groups: int = MIN_GROUPS,
    ) -> None:
        super().__init__(corpus, root, long_notes, max_tokens, seed, calibrate, min_groups)
        for name, value in (("documents", documents), ("training_documents", training_documents)):
            if value is not None and value < 1:
                raise ConfigError(f"task.{name} must be at least 1, or null for all, got {value}")
        if isinstance(labels, str) or (labels is not None and not labels):
            raise ConfigError(f"task.labels must be a list of labels, or null for all, got {labels!r}")
        self.labeler, self.labels, self.documents = labeler, labels, documents
        self.shares, self.training_documents = tuple(shares), training_documents
        self._words: dict[str, list[Words]] = {}

    # Choice of documents.

    @property
    def tags(self) -> Tags:
        """The tags of the task's labels."""
        return Tags.of(tuple(name[2:] for name in self.examples.labels[1::2]))

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS

    def choose(self) -> Examples:
        records = self.corpus.records()
        if "spans" not in records.frame.columns:
            raise ConfigError(
                f"task=entities needs a corpus with spans; {type(self.corpus).__name__} has none; set "
                "corpus@task.corpus=brat, conll, pubtator or span_table"
            )
        frame, notices = records.frame, list(records.notices)
        every = _spans(frame["spans"])
        labels = self._known(every)
        people, dropped = _flattened(every, labels)
        notices += _span_notices(dropped, "the spans of people")
        frame, people, split, told = self._split(frame, people, records, labels)
        notices += told
        notes = [Note(text, tuple(own)) for text, own in zip(frame["text"].to_list(), people, strict=True)]
        assert self.folder is not None
        answers = label_notes(self.labeler, notes, self.folder.parent, self.corpus)
        learned, dropped = _flattened([answer.spans for answer in answers], labels)
        by_people = self.labeler.needs_people and not self.labeler.parts
        if not by_people:
            notices += _span_notices(dropped, "the spans of the labeler")
        failed = np.array([bool(answer.failed) for answer in answers]) & (split != SPLITS.index("test"))
        notices += dropped_notice(int(failed.sum()), len(answers), "the labeler failed")
        kept = np.flatnonzero(~failed)
        frame, split = frame[kept], split[kept]
        people, learned = [people[number] for number in kept], [learned[number] for number in kept]
        test = (split == SPLITS.index("test")).tolist()
        truth = [own if tested else other for own, other, tested in zip(people, learned, test, strict=True)]
        columns = {"split": pl.Series(np.array(SPLITS)[split]), PEOPLE: _series(people)}
        columns |= {} if by_people else {LABELLED: _series(learned)}
        facts = {**_facts(truth, split, labels), **({} if by_people else _costs(answers))}
        frame = frame.drop("labels", "spans").with_columns(**columns)
        return self._tagged(frame, truth, Tags.of(labels), notices, facts)

    def _known(self, spans: Sequence[Sequence[Span]]) -> tuple[str, ...]:
        known = {span.label for own in spans for span in own}
        wanted = set(self.labels) if self.labels is not None else known
        if not wanted or not wanted <= known:
            raise ConfigError(
                f"task.labels must be labels of the corpus, got {sorted(wanted)} for {sorted(known)}; check "
                "task.corpus.map and task.labels"
            )
        return tuple(sorted(wanted))

    def _split(
        self, frame: pl.DataFrame, people: list[list[Span]], records: Records, labels: Sequence[str]
    ) -> tuple[pl.DataFrame, list[list[Span]], Int[np.ndarray, " documents"], list[str]]:
        groups = frame["group"].to_list()
        if self.documents is not None and self.documents < len(frame):
            kept = np.flatnonzero(draw_groups(groups, np.ones(len(groups), dtype=bool), self.documents, self.seed))
            frame, people = frame[kept], [people[number] for number in kept]
        fixed = records.splits is not None
        frame, repeats, tied = tie_repeats(frame, self.corpus.near_duplicates, fixed)
        groups = frame["group"].to_list()
        present = np.array([[any(span.label == label for span in own) for label in labels] for own in people])
        split, told = split_documents(groups, present, self.shares, self.seed, records.splits)
        told = [*tied, *told, *straddling_notices(repeats, split, can_merge(self.corpus, fixed))]
        if self.training_documents is not None:
            drawn = draw_groups(groups, split == 0, self.training_documents, self.seed)
            kept = np.flatnonzero((split != 0) | drawn)
            frame, people, split = frame[kept], [people[number] for number in kept], split[kept]
        return frame, people, split, told

    def _tagged(
        self,
        frame: pl.DataFrame,
        truth: Sequence[Sequence[Span]],
        tags: Tags,
        notices: list[str],
        facts: Mapping[str, Any],
    ) -> Examples:
        pieces, moved, lost = [], 0, 0
        for text, own in zip(frame["text"].to_list(), truth, strict=True):
            around = words(text)
            pieces.append(tags.encode(own, around))
            widened = set(tags.widened(own, around))
            moved, lost = moved + len(set(own) - widened), lost + len(own) - len(widened)
        if moved:
            notices.append(
                f"{moved:,} spans have an edge inside a word: training widens them to whole words"
                + (f", and drops {lost:,} of them" if lost else "")
            )
        tagged = np.concatenate(pieces)
        targets = np.eye(len(tags.names), dtype=bool)[tagged]
        unit_start = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
        return Examples(frame, targets, tags.names, tuple(notices), {**facts, "words": len(tagged)}, unit_start)

    def fingerprint(self) -> str:
        return f"{self.corpus.fingerprint()} {self.labeler.fingerprint()}"

    # Loss and evaluation.

    def loss(self, logits: Float[Any, "units outputs"], targets: Any) -> Float[Any, ""]:
        """Return the cross-entropy of the tags, a mean over words."""
        from torch.nn import functional

        return functional.cross_entropy(logits, targets)

    def prior(self) -> Float[Any, " outputs"]:
        """See `Task.prior`. One imaginary word of every tag keeps it finite."""
        import torch

        train = torch.from_numpy(self.examples.targets[self.examples.units("train")]).float()
        return ((train.sum(0) + 1) / (len(train) + train.shape[1])).log()

    def fit_thresholds(self, probabilities: Float[np.ndarray, "units outputs"]) -> Thresholds:
        return None

    def evaluate(
        self, split: str, probabilities: Float[np.ndarray, "units outputs"], thresholds: Thresholds
    ) -> EntityEvaluation:
        members = self.examples.members(split)
        learned = split in ("train", "validation") and LABELLED in self.examples.frame.columns
        truth = _spans(self.examples.frame[LABELLED if learned else PEOPLE].gather(members))
        return EntityEvaluation(self.tags, self.words_of(split), truth, probabilities)

    def words_of(self, split: str) -> list[Words]:
        """Return the words of the documents of one split, in the order of `Examples.members`."""
        if split not in self._words:
            self._words[split] = [words(text) for text in self.texts(split)]
        return self._words[split]

    def passages(self, documents: Int[np.ndarray, " chosen"]) -> list[str]:
        texts = self.examples.frame["text"].gather(documents).to_list()
        return [passage for text in texts for passage in contexts(text, words(text))]

    def labelled_probabilities(self, split: str) -> Float[np.ndarray, "units outputs"] | None:
        if LABELLED not in self.examples.frame.columns:
            return None
        own = _spans(self.examples.frame[LABELLED].gather(self.examples.members(split)))
        tags = self.tags
        encoded = [tags.encode(spans, around) for spans, around in zip(own, self.words_of(split), strict=True)]
        found: Float[np.ndarray, "units outputs"] = np.eye(len(tags.names))[np.concatenate(encoded)]
        return found


def _spans(column: pl.Series) -> list[list[Span]]:
    return [[Span(**span) for span in own] for own in column.to_list()]


def _series(spans: Iterable[Sequence[Span]]) -> pl.Series:
    return pl.Series([[span._asdict() for span in own] for own in spans], dtype=_SPANS)


def _flattened(spans: Sequence[Sequence[Span]], labels: Sequence[str]) -> tuple[list[list[Span]], Counter[str]]:
    """Return flat spans of the labels, and how many were dropped, by reason."""
    kept, dropped = [], Counter[str]()
    for own in spans:
        known = [span for span in set(own) if span.label in labels]
        kept.append(flatten(known))
        dropped["their labels are not those of the task"] += len(set(own)) - len(known)
        dropped["they overlap a longer one"] += len(known) - len(kept[-1])
    return kept, dropped


def _span_notices(dropped: Mapping[str, int], whose: str) -> list[str]:
    return [f"{count:,} spans dropped from {whose}: {why}" for why, count in dropped.items() if count]


def _facts(
    truth: Sequence[Sequence[Span]], split: Int[np.ndarray, " documents"], labels: Sequence[str]
) -> dict[str, Any]:
    facts: dict[str, Any] = {"documents": len(truth)}
    facts |= {name: int((split == number).sum()) for number, name in enumerate(SPLITS)}
    counts = Counter(span.label for own in truth for span in own)
    return facts | {f"entities_{label.lower()}": counts[label] for label in labels}


def _costs(answers: Sequence[LabeledNote]) -> dict[str, Any]:
    """Return time and tokens of the labeler for all documents."""
    return {
        "labeler_notes": len(answers),
        "labeler_seconds": float(sum(answer.seconds for answer in answers)),
        "labeler_prompt_tokens": sum(answer.prompt_tokens for answer in answers),
        "labeler_completion_tokens": sum(answer.completion_tokens for answer in answers),
        "labeler_failed": sum(bool(answer.failed) for answer in answers),
        "labeler_invented": sum(answer.invented for answer in answers),
    }
