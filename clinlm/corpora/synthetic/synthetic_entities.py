"""Synthetic entities: invented notes whose medications, diseases and symptoms are known to the character."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import GENERATED, Corpus, Records, digest_generator
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.synthetic.entity_notes import NAMES_FILE, write_entity_note
from clinlm.corpora.synthetic.lexicon import LEXICON_FILE

_SPLITS = (*("train",) * 7, "validation", *("test",) * 2)
"""Splits of the patients whose numbers end in 0, 1, ... 9."""


@final
class SyntheticEntities(Corpus):
    """Generated notes with medications, diseases and symptoms, for trying `task=entities` without data.

    A note has up to five sections, about seventy words and twenty entities: asserted, negated, of the family, in the
    past, joined by slashes and hyphens, across line ends, in capitals, 2 % misspelled. Difficult are words that are
    names only in some sentences ("potassium 20 mEq daily", "potassium tomorrow"; "pain", "pain clinic"), an
    abbreviation of both a drug and a disease (MS), and names that occur in test notes only.

    The corpus defines its splits: of ten patients seven train, one validates, two test. id = patient and note number;
    group = patient; no attributes. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: unused; every corpus takes it.
        map: MEDICATION, DISEASE and SYMPTOM -> label of the records, others are dropped; None keeps all.
        patients: number of patients, >= 10; each has one to three notes.
        unseen: share of the names in test notes that do not occur in other notes, 0 to 1.
        seed: patient i depends only on (seed, i, unseen), so more patients only add notes.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        map: Mapping[str, str] | None = None,
        patients: int = 400,
        unseen: float = 0.3,
        seed: int = 0,
    ) -> None:
        if patients < len(_SPLITS):
            raise ConfigError(f"patients must be >= {len(_SPLITS)}, so that every split has one, got {patients}")
        if not 0 <= unseen <= 1:
            raise ConfigError(f"unseen must be in [0, 1], got {unseen}")
        self.map = map
        self.patients, self.unseen, self.seed = patients, unseen, seed

    def records(self) -> Records:
        documents = []
        for patient in range(self.patients):
            rng = random.Random(f"{self.seed}-{patient}")
            split = _SPLITS[patient % len(_SPLITS)]
            for number in range(rng.randint(1, 3)):
                text, spans = write_entity_note(rng, self.unseen if split == "test" else 0)
                documents.append(SpanDocument(f"e{patient}-{number}", f"e{patient}", text, spans, split))
        return span_records(documents, self.map, (GENERATED,))

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it generates nothing."""
        settings = [self.patients, self.unseen, self.seed, sorted((self.map or {}).items())]
        return digest_generator(settings, [f"{__name__}.SyntheticEntities"], [NAMES_FILE, LEXICON_FILE])
