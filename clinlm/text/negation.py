"""Whether a mentioned symptom is asserted of the patient, now."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, final

from clinlm.config.extras import imported
from clinlm.terminology.mentions import Mention
from clinlm.text.negation_triggers import TRIGGERS, Modifier
from clinlm.text.sentences import Sentence, english

_KEY = "symptoms"

_TELLING = re.compile(r"\b(?:family|past|fhx?|pmhx?)\b", re.IGNORECASE)
"""Sections that say whose, or when. HISTORY OF PRESENT ILLNESS is none of them."""


@final
class Assertion:
    """ConText on negspacy: NegEx, run once for each modifier with the modifier's own triggers.

    Source: Harkema et al. 2009, "ConText: an algorithm for determining negation, experiencer, and temporal status from
    clinical reports", J Biomed Inform 42(5); NegEx, Chapman et al. 2001, as negspacy has it: a trigger reaches to the
    end of the sentence or to a word that ends its reach. Departs: the header of a section on the family or the past
    stands before each of its sentences, so that what FAMILY HISTORY lists is the family's.

    Args:
        triggers: modifier -> negspacy's termset.
    """

    def __init__(self, triggers: Mapping[Modifier, Mapping[str, list[str]]] = TRIGGERS) -> None:
        self._make_doc = english().make_doc
        negex = imported("negspacy.negation", "symptoms").Negex
        self._components = {
            modifier: negex(
                english(),
                name=f"clinlm_{modifier}",
                neg_termset=dict(terms),
                extension_name=f"clinlm_{modifier}",
                span_keys=[_KEY],
            )
            for modifier, terms in triggers.items()
        }

    def modifiers(self, sentence: Sentence, mentions: Sequence[Mention]) -> list[frozenset[Modifier]]:
        """Return what holds of each mention in `sentence.text`; nothing holds of an asserted one."""
        told = not _TELLING.search(sentence.section) or sentence.text.startswith(sentence.section)
        prefix = "" if told else f"{sentence.section}: "
        doc = self._make_doc(prefix + sentence.text)
        for token in doc:
            token.is_sent_start = token.i == 0
        shift = len(prefix)
        spans = [doc.char_span(m.start + shift, m.end + shift, alignment_mode="expand") for m in mentions]
        doc.spans[_KEY] = spans
        for component in self._components.values():
            component(doc)
        return [frozenset(m for m in self._components if _holds(span, m)) for span in spans]


def _holds(span: Any, modifier: Modifier) -> bool:
    return bool(span._.get(f"clinlm_{modifier}"))
