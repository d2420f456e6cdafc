"""Finds the spellings of a lexicon in a text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from clinlm.terminology.lexicon import MASK, normalize_term


class Mention(NamedTuple):
    """One occurrence of a symptom: characters `start` to `end` (exclusive) of the text."""

    symptom: str
    start: int
    end: int


@final
class Finder:
    """Finds mentions: whole words, any case, any white space between words; where several begin, the longest.

    All terms become one regular expression, a tree of their characters, so that time hardly depends on their number.

    Args:
        terms: see `Lexicon.terms`.
    """

    def __init__(self, terms: Mapping[str, Sequence[str]]) -> None:
        self._owner = {normalize_term(way): name for name, ways in terms.items() for way in ways}
        tree: dict[str, Any] = {}
        for spelling in self._owner:
            node = tree
            for character in spelling:
                node = node.setdefault(character, {})
            node[""] = {}
        self._pattern = re.compile(rf"(?<!\w){_tree_pattern(tree)}(?!\w)", re.IGNORECASE)

    def find(self, text: str) -> list[Mention]:
        """Return the mentions in `text`, in order; they do not overlap.

        Letters that only case-insensitive matching equates (the dotless i, the long s) make no mention.
        """
        found = ((self._owner.get(normalize_term(m[0])), m) for m in self._pattern.finditer(text))
        return [Mention(name, m.start(), m.end()) for name, m in found if name is not None]


def mask_mentions(text: str, mentions: Sequence[Mention]) -> str:
    """Return `text` with each mention replaced by one MASK."""
    pieces, place = [], 0
    for mention in mentions:
        pieces += [text[place : mention.start], MASK]
        place = mention.end
    return "".join([*pieces, text[place:]])


def _tree_pattern(tree: Mapping[str, Any]) -> str:
    """Return the regular expression of a tree of characters; the key "" marks the end of a term."""
    branches = [_character_pattern(character) + _tree_pattern(rest) for character, rest in tree.items() if character]
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)})" + ("?" if "" in tree else "")


def _character_pattern(character: str) -> str:
    return r"\s+" if character == " " else re.escape(character)
