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
    """A unit of prediction: sentences of a note, and the mentions in each."""

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

    1. `clean` changes whole notes.
    2. Sentences are split (`clinlm.text.sentences`) and mentions found (`clinlm.terminology.mentions`). The `symptoms`
       that most units mention are kept; units that mention none of them are dropped.
    3. `asserted` keeps a label if a mention of it is not negated, of the family, historical or hypothetical
       (`clinlm.text.negation`). A unit that asserts no symptom stays, without labels.
    4. `normalize` changes the text of the units, last because steps 2 and 3 need marks, case and headers. Mentions of
       kept symptoms are normalised separately, so that no step removes them with a header.
    5. A unit with the text of an earlier record is dropped, whatever its labels, so that no text is in two groups:
       sentences such as "No fever." are in many notes, and a model would memorise them.

    id = the note's id, for sentences with "-" and the number of the sentence; group = the note's. Attributes: those of
    the note; `note`, its id; `keywords`, the kept symptoms mentioned, asserted or not, joined by ";", as a keyword
    matcher would predict. Everything dropped is counted in a notice.

    Args:
        root: of the inner corpus.
        corpus: makes the inner corpus from `root`.
        lexicon: symptoms and their spellings.
        unit: `sentence` or `note`.
        labels: `mention` or `asserted`.
        symptoms: number of the most frequent symptoms to keep, ties by name; None for all that occur; or their names.
        fraction: share of the notes to read, in (0, 1]: whole groups, drawn at random.
        mask_triggers: replace each mention of a kept symptom with `MASK`, so that its words do not reveal the label.
        unasserted: the label of units that assert no symptom, a class for multi-class tasks; None leaves them without.
        clean: name -> step, in order, for whole notes, such as those of `clinlm.text.normalization`.
        normalize: name -> step, in order, for the text of units. No step may remove MASK.
        seed: of the draw.

    Raises:
        ConfigError: a setting is out of range.
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
        return Records(
            distinct, (self._label_notice(), *inner.notices, *self.lexicon.notices(), *count_notices(counts))
        )

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it includes the order of the steps, which a key does not."""
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
        """Return the unit's text, normalised around its mentions, which are masked or normalised separately."""
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
