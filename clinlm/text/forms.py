"""Reads statuses that are written as in a form: `Fever: No`, `fever (-)`, `[ ] fever`, `+fever -cough`, `fever?`."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from clinlm.terminology.mentions import Mention

Status = Literal["yes", "no", "doubt", ""]
Change = tuple[int, int, str]
"""Characters `start` to `end` (exclusive) of a text, and what replaces them."""

_NO = "no|none|nil|neg|negative|denies|denied|absent"
_YES = "yes|pos|positive"
_END = r"(?=\s*(?:[,;.|)\]]|$))"
"""Matches where an answer must end: `Fever: no, cough` has an answer, `Fever: no relief` has none."""
_NEXT = r"(?=\s*(?:[,;.|)\]]|$)|(?:\s+[\w/]+){1,3}\s*[:=?])"
"""Like `_END`, or before the next question: `Fever: no Cough: yes`."""
_ANSWER = re.compile(
    rf"""
    (?P<colon>\s*[:=?]\s*(?:(?:{_NO}|not\ present|never|false|n|0(?:/10)?|[-–−])
        |(?P<yes1>{_YES}|present|true|y|\++)){_NEXT})
    |(?P<dash>\s*[-–—]+\s*(?:(?:{_NO})|(?P<yes2>{_YES}|present)){_END})
    |(?P<bracket>\s*[(\[]\s*(?:(?:{_NO}|[-–−])|(?P<yes3>{_YES}|present|\++))\s*[)\]])
    |\s+(?:(?:{_NO})|(?P<yes4>{_YES})){_END}
    |\s*(?:[-–−]|(?P<yes5>\++)){_END}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Matches an answer right after a mention: `: No`, `- denies`, `(-)`, ` none.`, `+`."""
_SIGN_BEFORE = re.compile(r"\([-–−+]\)\s*$")
_BOX_BEFORE = re.compile(r"\[\s*(?:(?P<yes>[xX✓✔])|_?)\s*\]\s*$")
"""Match a sign or a checkbox that stands before a mention: `(-) fever`, `[ ] fever`, `[x] fever`."""
_JOINED = re.compile(r"\s*(?:[,/]|,?\s*(?:or|and))\s*", re.IGNORECASE)
"""Matches what joins mentions that share an answer: `fever or chills: no`."""
_DOUBT_AFTER = re.compile(r"\s*\(?\?")
_DOUBT_BEFORE = re.compile(r"(?:^|\s|\()\?\s*$")
_HOLDS = re.compile(r"\s+(?:persist|continue|remain|worsen|is (?:present|worse)|has (?:returned|worsened))")
"""Matches a verb that asserts the mention before it, whatever the clause before denies: `no fever, cough persists`."""
_WITHOUT = re.compile(r"(?<!\w)s/(?!p\b)\s*(?=[a-z])|[¬Ø]\s*(?=\w)", re.IGNORECASE)
"""Matches abbreviations of "without" (not `s/p`, status post)."""
_SIGNED_WORD = re.compile(r"(?:^|(?<=[,;(]))\s*[-+]\s*(?=[a-z])|(?<=\s)[-+](?=[a-z])", re.IGNORECASE)


class Form(NamedTuple):
    """Statuses of mentions, and the sentence without what was read.

    Attributes:
        statuses: one per mention; empty where nothing is written.
        text: the sentence; an answer became a semicolon, a sign a word.
        mentions: their places in `text`.
    """

    statuses: list[Status]
    text: str
    mentions: list[Mention]


def read_form(text: str, mentions: Sequence[Mention]) -> Form:
    """Return what is written about `mentions` of the sentence `text` as in a form.

    Args:
        text: a sentence.
        mentions: in order, without overlap.
    """
    statuses: list[Status] = []
    changes = [*_signs(text), *((found.start(), found.end(), "without ") for found in _WITHOUT.finditer(text))]
    signed_before = bool(mentions) and _SIGN_BEFORE.search(text[: mentions[0].start]) is not None
    for mention in mentions:
        before = text[: mention.start]
        answer = _answer(text, mention, signed_before)
        box = _BOX_BEFORE.search(before)
        if answer:
            statuses.append("yes" if any(answer[f"yes{form}"] for form in range(1, 6)) else "no")
            changes.append((answer.start(), answer.end(), " ; "))
        elif box:
            statuses.append("yes" if box["yes"] else "no")
            changes.append((box.start(), box.end(), " ; "))
        elif _DOUBT_AFTER.match(text, mention.end) or _DOUBT_BEFORE.search(before):
            statuses.append("doubt")
        else:
            statuses.append("")
            if _HOLDS.match(text, mention.end) and "," in before:
                changes.append((before.rindex(","), before.rindex(",") + 1, " ;"))
    _share(text, mentions, statuses, signed_before)
    return Form(statuses, *_replaced(text, mentions, changes))


def _answer(text: str, mention: Mention, signed_before: bool) -> re.Match[str] | None:
    """Return the answer after a mention; where signs stand before, one in brackets belongs to the next mention."""
    answer = _ANSWER.match(text, mention.end)
    return None if answer and signed_before and answer["bracket"] else answer


def _share(text: str, mentions: Sequence[Mention], statuses: list[Status], signed_before: bool) -> None:
    """Give an answer after a colon or a dash to all mentions that are joined to the answered one."""
    shared: Status = ""
    for place in reversed(range(len(mentions))):
        joined = place + 1 < len(mentions) and _JOINED.fullmatch(text, mentions[place].end, mentions[place + 1].start)
        answer = _answer(text, mentions[place], signed_before)
        if answer:
            shared = statuses[place] if answer["colon"] or answer["dash"] else ""
        elif joined and shared:
            statuses[place] = shared
        else:
            shared = ""


def _signs(text: str) -> Iterator[Change]:
    """Yield the signs of words such as `+fever -cough` as words. A minus alone is no sign: it may be a bullet."""
    signs = list(_SIGNED_WORD.finditer(text))
    if any("+" in sign[0] for sign in signs):
        for sign in signs:
            yield sign.start(), sign.end(), " ; " if "+" in sign[0] else " ; no "


def _replaced(text: str, mentions: Sequence[Mention], changes: Sequence[Change]) -> tuple[str, list[Mention]]:
    """Return the text with its changes, of which none touches a mention, and the mentions at their new places."""
    pieces, shifts, place = [], [(0, 0)], 0
    for start, end, put in sorted(set(changes)):
        if start < place:
            continue
        pieces += [text[place:start], put]
        place = end
        shifts.append((end, shifts[-1][1] + len(put) - (end - start)))
    moved = [
        mention._replace(start=mention.start + shift, end=mention.end + shift)
        for mention in mentions
        for shift in [next(shift for end, shift in reversed(shifts) if end <= mention.start)]
    ]
    return "".join([*pieces, text[place:]]), moved
