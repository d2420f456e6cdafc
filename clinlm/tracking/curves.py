"""Lightning's loggers, kept from stopping a training."""

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, final

from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)
T = TypeVar("T")


@final
class Curves(Logger):
    """Passes everything on to other loggers. One that fails gets nothing more, and one warning says so.

    Args:
        loggers: at least one.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        super().__init__()
        self.loggers = [*loggers]
        self._first = self.loggers[0]

    @property
    def name(self) -> str | None:
        """The name of the first."""
        return self._first.name

    @property
    def version(self) -> int | str | None:
        """The version of the first."""
        return self._first.version

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step."""
        self._each(lambda own: own.log_metrics(dict(metrics), step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *given: Any, **named: Any) -> None:
        """Log settings."""
        self._each(lambda own: own.log_hyperparams(params, *given, **named))

    def save(self) -> None:
        """Write what is waiting."""
        self._each(lambda own: own.save())

    def finalize(self, status: str) -> None:
        """Let every logger end."""
        self._each(lambda own: own.finalize(status))

    def _each(self, action: Callable[[Logger], Any]) -> None:
        for own in [*self.loggers]:
            if not harmless(type(own).__name__, lambda own=own: action(own)):  # type: ignore[misc]
                self.loggers.remove(own)


def harmless(name: str, action: Callable[[], Any]) -> bool:
    """Run `action` of a logger, and return whether it succeeded; if not, log one warning with its reason."""
    return attempted(name, lambda: (action(),)) is not None


def attempted(name: str, make: Callable[[], T]) -> T | None:
    """Return what `make` of a logger returns; if it fails, log one warning with its reason and return None."""
    try:
        return make()
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        log.warning(
            "the logger %s failed and is left out from here: %s%s; nothing else is lost, the run goes on",
            name,
            type(error).__name__,
            f": {reason}" if reason else "",
        )
        return None
