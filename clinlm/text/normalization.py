"""Steps of text normalisation: pure, idempotent functions of a text.

No step removes `MASK`. Settings list them in ordered mappings, so that a step is removed by its name
(`~task.corpus.normalize.punctuation`) and added by a line of yaml.
"""

import re
import unicodedata
from functools import cache

from clinlm.terminology.lexicon import MASK

_SMALL = "of|and|or|on|in|for|to|the|at|with"
HEADER = re.compile(
    rf"^[ \t]*(?P<name>[A-Z][A-Z/&()' -]{{2,60}}|[A-Z][\w/'-]*(?: (?:(?:{_SMALL}) )?[A-Z][\w/'-]*){{0,5}}):(?!\d)",
    re.MULTILINE,
)
"""A section's header: at the start of a line, all in capitals or every word capitalised, then a colon."""

_IDENTIFIER = re.compile(rf"\[\*\*[^{MASK}]*?\*\*\]|_{{3,}}")
_TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.?"
_DATE = (
    r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/-]\d{1,2}[/-](?:\d{4}|\d{2})"
    rf"|{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}}|\d{{1,2}}\s{_MONTH}\s\d{{4}}"
)
_STAMP = re.compile(rf"(?<![\w:./-])(?:(?:{_DATE})(?:T{_TIME})?|{_TIME})(?![\w:/-])", re.IGNORECASE)


def lower_case(text: str) -> str:
    """Return `text` in lower case."""
    return text.lower()


def punctuation(text: str) -> str:
    """Return `text` with every punctuation mark and symbol (Unicode's P and S) replaced by a space."""
    return "".join(" " if _is_mark(character) else character for character in text)


def headers(text: str) -> str:
    """Return `text` without the headers of sections at the starts of its lines; see `HEADER`."""
    return _replace_repeatedly(HEADER, "", text)


def time_stamps(text: str) -> str:
    """Return `text` with every date (2101-03-04, 3/4/2101, Mar 4, 2101) and time of day replaced by a space."""
    return _replace_repeatedly(_STAMP, " ", text)


def deidentified(text: str) -> str:
    """Return `text` with every de-identified span of MIMIC, `[**...**]` or `___`, replaced by a space."""
    return _replace_repeatedly(_IDENTIFIER, " ", text)


def _replace_repeatedly(pattern: re.Pattern[str], put: str, text: str) -> str:
    """Replace until nothing matches: removing one match may create another."""
    before = None
    while text != before:
        before, text = text, pattern.sub(put, text)
    return text


@cache
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
