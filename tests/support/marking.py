"""A labeler that marks words it was told, and counts what it is asked: for tests of all that stands around labelers."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from clinlm.labelers.base import LabeledNote, Labeler, LabelingStopped, Note
from clinlm.terminology.spans import Span


@final
@dataclass
class Marker(Labeler):
    """Marks every word of `words`; what it was asked stands in the file `asked`, a line of JSON a note.

    A note with the word `fails` fails, one with `stops` stops the run. Each costs 0.5 s, 2 and 1 tokens.
    """

    words: Sequence[str]
    label_as: str = "DISEASE"
    asked: str | None = None
    fails: str = "unanswerable"
    stops: str = "expensive"
    address: str = ""

    @property
    def remote(self) -> str:
        return self.address

    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        for note in notes:
            if self.stops in note.text:
                raise LabelingStopped("the budget of a marker is used up; set a larger one")
            if self.asked is not None:
                with Path(self.asked).open("a") as file:
                    file.write(json.dumps(note.text) + "\n")
            cost = {"seconds": 0.5, "prompt_tokens": 2, "completion_tokens": 1}
            if self.fails in note.text:
                yield LabeledNote(failed="it cannot be answered", **cost)  # type: ignore[arg-type]
                continue
            found = [one.span() for word in self.words for one in re.finditer(rf"\b{re.escape(word)}\b", note.text)]
            yield LabeledNote(tuple(Span(*ends, self.label_as) for ends in sorted(found)), **cost)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        return json.dumps([*self.words, self.label_as])

    def questions(self) -> list[str]:
        """Return the texts that it was asked, in order."""
        path = Path(str(self.asked))
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
