"""The configuration: where it is, and checks of it that need no more than its text."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from clinlm.config.errors import ConfigError

_HERE = Path(__file__).parents[1]
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
"""The configuration: inside the package when installed from a wheel, beside it in a checkout."""


def refuse_monitor(monitor: str, known: Iterable[str]) -> None:
    """Raise unless `monitor` names a validation metric of which more is better.

    Args:
        known: names of such metrics, without their `val/`.

    Raises:
        ConfigError: it does not; the message names the nearest that does.
    """
    names = [f"val/{name}" for name in known]
    if monitor not in names:
        near = difflib.get_close_matches(monitor, names, n=3)
        raise ConfigError(
            f"monitor must name a validation metric of which more is better, got {monitor!r}; set one of "
            f"{', '.join(near or names)}"
        )
