"""One answer of a clinical report: what was measured, and what only the hospital can say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from clinlm.report.cards.privacy import without_paths

HOSPITAL: Final = "To be stated by the hospital"

Status = Literal["answered", "answered in part", "to be stated by the hospital"]


@final
@dataclass(frozen=True)
class ItemAnswer:
    """The answer to one item.

    Attributes:
        measured: sentences from the records of the run; none where they say nothing about the item.
        hospital: what remains to be stated, without a full stop; "" for nothing.
        as_is: whether `measured` is a name, and no sentence.

    Raises:
        ValueError: both are empty: no item is silently empty.
    """

    measured: tuple[str, ...] = ()
    hospital: str = ""
    as_is: bool = False

    def __post_init__(self) -> None:
        if not (any(self.measured) or self.hospital):
            raise ValueError("a statement must hold something measured, or say what the hospital has to state")

    @property
    def status(self) -> Status:
        """Who has answered."""
        if not any(self.measured):
            return "to be stated by the hospital"
        return "answered in part" if self.hospital else "answered"

    @property
    def text(self) -> str:
        """The whole answer, without paths; one paragraph."""
        said = [part if self.as_is else sentence(part) for part in self.measured if part]
        said += [f"{HOSPITAL}: {self.hospital}."] if self.hospital else []
        return without_paths(" ".join(" ".join(said).split()))


def stated(*measured: str, hospital: str = "") -> ItemAnswer:
    """Return a statement of these sentences."""
    return ItemAnswer(measured, hospital)


def as_named(*measured: str) -> ItemAnswer:
    """Return a statement that is a name, such as that of a model."""
    return ItemAnswer(measured, as_is=True)


def joined(parts: Sequence[str], nothing: str) -> str:
    """Return `parts` as one sentence, or `nothing` where there are none."""
    return "; ".join(part.rstrip(".") for part in parts) or nothing


def sentence(text: str) -> str:
    """Return `text` with a full stop, and with a capital letter unless it begins with a name of the code."""
    text = text.strip().rstrip(".")
    word = re.match(r"[a-z]+(?=[ ,:;]|$)", text)
    starts = text[:1].upper() + text[1:] if word is not None and word[0] != "clinlm" else text
    return f"{starts}." if text else ""
