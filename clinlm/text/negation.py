"""Decides whether a mentioned symptom is negated, of someone else, past or hypothetical."""

import re
from collections.abc import Mapping, Sequence
from typing import final

from clinlm.config.extras import imported
from clinlm.terminology.mentions import Mention
from clinlm.text.forms import Status, read_form
from clinlm.text.negation_triggers import TRIGGERS, Modifier
from clinlm.text.sentences import Sentence, english

_KEY = "symptoms"

_CONTEXT = re.compile(r"\b(?:family|past|fhx?|pmhx?)\b", re.IGNORECASE)
"""Matches headers of sections about the family or the past, but not HISTORY OF PRESENT ILLNESS."""


@final
class ConText:
    """The ConText algorithm on negspacy: NegEx, run once for each modifier with its own triggers.

    Source: Harkema et al. 2009, "ConText: an algorithm for determining negation, experiencer, and temporal status from
    clinical reports", J Biomed Inform 42(5); NegEx, Chapman et al. 2001, as in negspacy: the scope of a trigger ends
    with the sentence or at a termination word. Departs: the header of a section about the family or the past is put
    before each of its sentences, so that it acts as a trigger; what is written as in a form is read first
    (`clinlm.text.forms`), decides, and ends every scope.

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
        """Return the modifiers of each mention in `sentence.text`; an asserted one has none."""
        form = read_form(sentence.text, mentions)
        plain = not _CONTEXT.search(sentence.section) or sentence.text.startswith(sentence.section)
        prefix = "" if plain else f"{sentence.section}: "
        doc = self._make_doc(prefix + form.text)
        for token in doc:
            token.is_sent_start = token.i == 0
        shift = len(prefix)
        spans = [doc.char_span(m.start + shift, m.end + shift, alignment_mode="expand") for m in form.mentions]
        doc.spans[_KEY] = spans
        for component in self._components.values():
            component(doc)
        found = [{m for m in self._components if span._.get(f"clinlm_{m}")} for span in spans]
        return [frozenset(_with_status(some, own)) for some, own in zip(found, form.statuses, strict=True)]


def _with_status(modifiers: set[Modifier], status: Status) -> set[Modifier]:
    """Return the modifiers of a mention, changed by its status in a form."""
    if status == "yes":
        return modifiers - {"negated"}
    if status == "no":
        return modifiers | {"negated"}
    return modifiers | {"hypothetical"} if status == "doubt" else modifiers
