"""What came of an attack, and the table of all of them."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Verdict(NamedTuple):
    """What came of one attack.

    Attributes:
        attack: what was done, to what.
        outcome: what came of it, in few words; equal words are counted together.
        survived: whether that is what must be.
        told: of one that did not survive: what was printed, or what differs.
    """

    attack: str
    outcome: str
    survived: bool
    told: str = ""


class Tally(NamedTuple):
    """All verdicts of one kind of attack; `skipped` says why there are none."""

    name: str
    verdicts: Sequence[Verdict]
    seconds: float
    skipped: str = ""

    @property
    def failures(self) -> list[Verdict]:
        """Those that did not survive."""
        return [verdict for verdict in self.verdicts if not verdict.survived]


def markdown(tallies: Sequence[Tally], heading: str) -> str:
    """Return the table of attacks; `heading` says of what, where and when."""
    lines = [heading, "", "| attack | tried | survived | what came of it | s |", "| --- | ---: | ---: | --- | ---: |"]
    for tally in tallies:
        counts = Counter(verdict.outcome for verdict in tally.verdicts)
        told = tally.skipped or ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common())
        tried = len(tally.verdicts)
        lines.append(f"| {tally.name} | {tried:,} | {tried - len(tally.failures):,} | {told} | {tally.seconds:.0f} |")
    return "\n".join(lines) + "\n"
