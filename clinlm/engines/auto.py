"""An auction between the engines."""

import logging
from collections.abc import Sequence
from typing import final

from clinlm.engines.base import Engine, named, names
from clinlm.engines.torch import Torch

log = logging.getLogger(__name__)


@final
class Auto:
    """Every engine that is installed: the fastest on this processor is kept, the others' figures are told.

    Eager torch, which runs the artifact itself, is timed beside them anyway.

    Args:
        engines: names of those to try; None for all.
        tolerance, agreement: see `Engine`.

    Raises:
        ValueError: one is not there.
    """

    def __init__(self, engines: Sequence[str] | None = None, tolerance: float = 0.05, agreement: float = 0.995) -> None:
        chosen = [
            named(name, tolerance=tolerance, agreement=agreement)
            for name in engines or [name for name in names() if name != Torch.name]
        ]
        self._found = [one for one in chosen if not one.missing()]
        for one in chosen:
            if one.missing():
                log.info("engine %s is left out: %s", one.name, one.missing())

    def candidates(self) -> Sequence[Engine]:
        """See `Choice.candidates`."""
        return self._found
