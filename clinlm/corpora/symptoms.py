"""Symptoms: the sentences, or notes, of another corpus that mention symptoms."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import Corpus, Records, count_notices
from clinlm.corpora.split import draw_groups
from clinlm.terminology.lexicon import MASK, Lexicon
from clinlm.terminology.mentions import Finder, Mention, mask_mentions
from clinlm.text.negation import ConText
from clinlm.text.sentences import Sentence, sentences

Step = Callable[[str], str]

PLACEHOLDER = "none"
"""The attribute of a corpus without attributes."""


class _Passage(NamedTuple):
    """A unit of prediction: some sentences of one note and what each mentions."""

    note: int
    number: int
    sentences: tuple[Sentence, ...]
    mentions: tuple[tuple[Mention, ...], ...]

    def symptoms(self) -> set[str]:
        return {mention.symptom for some in self.mentions for mention in some}


@final
class Symptoms(Corpus):
    """One record per sentence, or note, of another corpus that mentions one of the k most frequent symptoms.

    Source: the paper on five strategies for symptom extraction. A record's labels are the symptoms that it mentions
    (`mention`, as in the paper) or asserts (`asserted`).

    1. `clean` changes the whole notes, before sentences are found.
    2. Sentences are found (`clinlm.text.sentences`), in them the words of the lexicon (`clinlm.terminology.mentions`).
    The `symptoms`
       most frequent ones, by the number of units that mention them, are kept; units that mention none are dropped.
    3. `asserted` keeps a label whose mentions are not all denied, someone else's, over or only possible
       (`clinlm.text.negation`). A unit that asserts none of its symptoms stays, without labels.
    4. `normalize` changes the text of the units: only now, since sentences and assertion need marks, case and
       headers. The words of the kept symptoms are set aside meanwhile, so that no step takes them away with a header;
       each is normalised alone.
    5. A unit whose text stands in an earlier record is dropped, whatever its labels, so that no text stands in two
       groups: sentences such as "No fever." are in every other note, and would be learnt by heart.

    id = the note's id, "-" and the number of the sentence in it (for notes the note's id alone); group = the note's.
    Attributes: those of the note; `note`, its id; `keywords`, the kept symptoms mentioned, asserted or not, parted by
    ";": what a keyword matcher would answer. Everything dropped is counted in a notice.

    Args:
        root: handed on to `corpus`.
        corpus: makes the corpus to read from `root`.
        lexicon: symptoms and the words for them.
        unit: `sentence` or `note`.
        labels: `mention` or `asserted`.
        symptoms: how many of the most frequent, ties to the name that sorts first; None for all that occur; or their
            names.
        fraction: share of the notes to read, in (0, 1]: whole groups, drawn at random.
        mask_triggers: put one `MASK` in the place of each mention of a kept symptom, so that its words do not tell the
            label.
        unasserted: the label of units that assert none of their symptoms, so that a multi-class task has a class for
            them; None leaves them without labels.
        clean: name -> step, in order, for whole notes. `clinlm.text.normalization` has some.
        normalize: name -> step, in order, for the text of units. No step may take away MASK.
        seed: of the draw.

    Raises:
        ValueError: a setting out of its range, or (on reading) a symptom that does not occur, or nothing left.
    """

    def __init__(
        self,
        root: str | Path,
        corpus: Callable[..., Corpus],
        lexicon: Lexicon,
        unit: Literal["sentence", "note"] = "sentence",
        labels: Literal["mention", "asserted"] = "asserted",
        symptoms: int | Sequence[str] | None = 5,
        fraction: float = 1.0,
        mask_triggers: bool = False,
        unasserted: str | None = None,
        clean: Mapping[str, Step] | None = None,
        normalize: Mapping[str, Step] | None = None,
        seed: int = 0,
    ) -> None:
        if unit not in ("sentence", "note") or labels not in ("mention", "asserted"):
            raise ConfigError(f"unit must be sentence or note, labels mention or asserted, got {unit!r}, {labels!r}")
        if isinstance(symptoms, str) or (symptoms is not None and not symptoms):
            raise ConfigError(f"symptoms must be >= 1, a list of names, or null for all, got {symptoms!r}")
        if isinstance(symptoms, int) and symptoms < 1:
            raise ConfigError(f"symptoms must be >= 1, a list of names, or null for all, got {symptoms!r}")
        if not 0 < fraction <= 1:
            raise ConfigError(f"fraction must be in (0, 1], got {fraction}; set 1 for every note")
        self.inner, self.lexicon = corpus(root=root), lexicon
        self.remote_allowed = self.inner.remote_allowed
        self.unit, self.labels, self.mask_triggers = unit, labels, mask_triggers
        self.symptoms = symptoms if symptoms is None or isinstance(symptoms, int) else tuple(symptoms)
        self.fraction, self.unasserted, self.seed = fraction, unasserted, seed
        self.clean, self.normalize = dict(clean or {}), dict(normalize or {})

    def check(self) -> None:
        """Check the corpus that is read."""
        self.inner.check()

    def records(self) -> Records:
        """See `Corpus.records`; the inner corpus's errors apply too."""
        inner = self.inner.records()
        notes = self._drawn(inner.frame)
        every = list(self._passages(notes["text"].to_list()))
        chosen = self._chosen(Counter(name for passage in every for name in passage.symptoms()))
        kept = [passage for passage in (_narrowed(passage, chosen) for passage in every) if passage.symptoms()]
        frame = self._frame(notes, kept)
        filled = frame.filter(pl.col("text") != "")
        distinct = filled.unique("text", keep="first", maintain_order=True)
        label_sets = filled.group_by("text").agg(pl.col("labels").n_unique().alias("n"))
        several = label_sets.filter(pl.col("n") > 1).height
        noun = f"{self.unit}s"
        counts = [
            (inner.frame.height - notes.height, f"of {inner.frame.height:,} notes not read: fraction {self.fraction}"),
            (
                len(every) - len(kept),
                f"of {len(every):,} {noun} with a symptom dropped: none of the {len(chosen)} kept",
            ),
            (frame.height - filled.height, f"of {frame.height:,} {noun} dropped: nothing left after normalisation"),
            (
                filled.height - distinct.height,
                f"of {filled.height:,} {noun} dropped: their text is in an earlier one",
            ),
            (several, f"texts are in several {noun} with different labels: the first labels are kept"),
            (_unasserted(distinct, self.unasserted), f"of {distinct.height:,} {noun} assert no symptom"),
        ]
        return Records(distinct, (self._label_notice(), *inner.notices, *count_notices(counts)))

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`: the inner corpus's, the lexicon's, and the order of the steps.

        A key sorts the settings by name, so that steps in another order would have the same one.
        """
        parts = [self.inner.fingerprint(), self.lexicon.fingerprint(), list(self.clean), list(self.normalize)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _label_notice(self) -> str:
        """Return the notice on the meaning of the labels."""
        which = "mentions, asserted or not"
        if self.labels == "asserted":
            which = "asserted mentions, by rules (negated, family, past and hypothetical ones do not count)"
        words = "masked" if self.mask_triggers else "in the text"
        return f"labels are {which}, in a {self.unit}; their words are {words}"

    def _drawn(self, notes: pl.DataFrame) -> pl.DataFrame:
        if self.fraction == 1:
            return notes
        size = math.ceil(self.fraction * notes.height)
        return notes.filter(draw_groups(notes["group"].to_list(), np.ones(notes.height, dtype=bool), size, self.seed))

    def _passages(self, texts: Sequence[str]) -> Iterator[_Passage]:
        """Yield the units that mention a symptom of the lexicon."""
        finder = Finder(self.lexicon.terms())
        cleaned = (_through(self.clean.values(), text.replace(MASK, " ")) for text in texts)
        for note, found in enumerate(sentences(cleaned)):
            mentions = [tuple(finder.find(sentence.text)) for sentence in found]
            if self.unit == "note":
                if any(mentions):
                    yield _Passage(note, 0, tuple(found), tuple(mentions))
                continue
            for number, (sentence, some) in enumerate(zip(found, mentions, strict=True)):
                if some:
                    yield _Passage(note, number, (sentence,), (some,))

    def _chosen(self, counts: Counter[str]) -> frozenset[str]:
        if isinstance(self.symptoms, tuple):
            missing = sorted(set(self.symptoms) - set(counts))
            if missing:
                raise DataError(f"every symptom must be mentioned, {', '.join(missing)} is not; set others in symptoms")
            return frozenset(self.symptoms)
        if not counts:
            raise DataError("the corpus must mention a symptom of the lexicon, but has none; set another lexicon")
        return frozenset(sorted(counts, key=lambda name: (-counts[name], name))[: self.symptoms])

    def _frame(self, notes: pl.DataFrame, passages: Sequence[_Passage]) -> pl.DataFrame:
        own = notes[[passage.note for passage in passages]]
        numbers = pl.Series([f"-{p.number}" if self.unit == "sentence" else "" for p in passages], dtype=pl.String)
        keywords = pl.Series([";".join(sorted(passage.symptoms())) for passage in passages], dtype=pl.String)
        fields = [field for field in own["attributes"].struct.fields if field != PLACEHOLDER]
        return own.select(
            (pl.col("id") + numbers).alias("id"),
            "group",
            pl.Series("text", [self._text(passage) for passage in passages], dtype=pl.String),
            pl.Series("labels", self._labels(passages), dtype=pl.List(pl.String)),
            pl.struct(
                *(pl.col("attributes").struct.field(field) for field in fields),
                keywords.alias("keywords"),
                pl.col("id").alias("note"),
            ).alias("attributes"),
        )

    def _labels(self, passages: Sequence[_Passage]) -> list[list[str]]:
        if self.labels == "mention":
            return [sorted(passage.symptoms()) for passage in passages]
        assertion, none = ConText(), [] if self.unasserted is None else [self.unasserted]
        return [sorted(_asserted(assertion, passage)) or list(none) for passage in passages]

    def _text(self, passage: _Passage) -> str:
        """The unit's text: normalised around its mentions, which are masked or put back one by one."""
        steps = self.normalize.values()
        pairs = list(zip(passage.sentences, passage.mentions, strict=True))
        pieces = _through(steps, "\n".join(mask_mentions(s.text, some) for s, some in pairs)).split(MASK)
        words = [s.text[m.start : m.end] for s, some in pairs for m in some]
        if len(pieces) != len(words) + 1:
            raise ConfigError("no step of normalize may remove MASK, but one did; repair it or leave it out")
        if self.mask_triggers:
            return " ".join(MASK.join(pieces).split())
        put = [_through(steps, word) for word in words]
        return " ".join("".join(a + b for a, b in zip(pieces, [*put, ""], strict=True)).split())


def _through(steps: Iterable[Step], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _narrowed(passage: _Passage, chosen: frozenset[str]) -> _Passage:
    """Return the passage with the mentions of the chosen symptoms alone."""
    return passage._replace(mentions=tuple(tuple(m for m in some if m.symptom in chosen) for some in passage.mentions))


def _asserted(assertion: ConText, passage: _Passage) -> set[str]:
    found: set[str] = set()
    for sentence, some in zip(passage.sentences, passage.mentions, strict=True):
        if some:
            modifiers = assertion.modifiers(sentence, some)
            found |= {mention.symptom for mention, held in zip(some, modifiers, strict=True) if not held}
    return found


def _unasserted(records: pl.DataFrame, label: str | None) -> int:
    empty = pl.col("labels").list.len() == 0
    return records.filter(empty if label is None else empty | pl.col("labels").list.contains(label)).height
