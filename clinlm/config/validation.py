"""The configuration: where it is, and checks of it that need no more than its text."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

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


def refuse_unread(config: DictConfig) -> None:
    """Raise if `+name=value` added a setting at the root that nothing reads: most likely a mistyped one.

    Raises:
        ConfigError: it did; the message names the nearest setting that is read.
    """
    primary = OmegaConf.load(CONF / "config.yaml")
    slots = [str(name) for default in primary.defaults if default != "_self_" for name in default]
    known = {*primary, *(slot.rpartition("@")[2] for slot in slots), "stages"}
    text = OmegaConf.to_yaml(config, resolve=False)
    for name in map(str, config):
        if name not in known and not re.search(rf"\$\{{{re.escape(name)}[}}.\[]", text):
            near = difflib.get_close_matches(name, known, n=3)
            remedy = f"did you mean {' or '.join(near)}?" if near else "take it away"
            raise ConfigError(f"unknown setting {name!r}; {remedy}")
