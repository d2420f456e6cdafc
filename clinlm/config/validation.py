"""The configuration on disk: where it lies, which names it knows, and the nearest of them to a mistyped one."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from clinlm.config.overrides import parameters

_HERE = Path(__file__).parents[1]
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
"""The configuration: inside the package when installed from a wheel, beside it in a checkout."""

_MISTYPED = re.compile(
    r"[Kk]ey '([^']+)' is not in struct|override '([^'=]+)'|overriding '([^'=]+)'|'([^']+)' does not exist"
)


def explained(error: BaseException) -> str:
    """Return the message of `error`, with the nearest name where a group, option or key was mistyped."""
    message = str(error).strip()
    if isinstance(error, MissingConfigException) and error.options:
        wanted = str(error.missing_cfg_file).rpartition("/")[2]
        if "hydra/launcher" in message:
            return f"{message.splitlines()[0]} Launchers are extras: pip install 'clinlm[joblib]', [submitit] or [ray]"
        return f"{message.splitlines()[0]}{nearest(wanted, error.options)}"
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or "it"
        return f"a setting without a default has to be given; {key} was not; add {key}=VALUE to the command"
    mistyped = _MISTYPED.search(message)
    if mistyped:
        return f"{message.splitlines()[0]}{nearest(next(g for g in mistyped.groups() if g), known_names())}"
    return message


def known_names() -> list[str]:
    """Return every key and group that the default configuration knows, dotted."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config")
    groups = [str(path.relative_to(CONF)) for path in CONF.iterdir() if path.is_dir()]
    return [*groups, *_keys(config, ""), *(name.rpartition(".")[2] for name in _keys(config, ""))]


def _keys(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, DictConfig):
        return []
    found = []
    target = str(node.get("_target_"))
    if target.startswith(("clinlm.", "callbacks.")):  # and what the yaml leaves at its default
        found += [f"{prefix}{name}" for name in parameters(target) if name not in node]
    for name in map(str, node):
        found.append(f"{prefix}{name}")
        if not (OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name)):
            found += _keys(node[name], f"{prefix}{name}.")
    return found


def nearest(wanted: str, known: Iterable[str]) -> str:
    """Return the question whether one of the names nearest to `wanted` was meant, or nothing if none is near."""
    close = difflib.get_close_matches(wanted, sorted(set(known)), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def refuse_monitor(monitor: str, known: Iterable[str]) -> None:
    """Raise unless `monitor` names a validation metric of which more is better.

    Args:
        monitor: the setting.
        known: names of such metrics, without their `val/`.

    Raises:
        ValueError: it does not; the message names the nearest that does.
    """
    names = [f"val/{name}" for name in known]
    if monitor not in names:
        raise ValueError(
            f"monitor names a validation metric of which more is better; got {monitor!r}{nearest(monitor, names)}"
        )


def refuse_unread(config: DictConfig) -> None:
    """Raise if `+name=value` added a setting at the root that nothing reads: most likely a mistyped one.

    Raises:
        ValueError: it did; the message names the nearest setting that is read.
    """
    primary = OmegaConf.load(CONF / "config.yaml")
    slots = [str(name) for default in primary.defaults if default != "_self_" for name in default]
    known = {*primary, *(slot.rpartition("@")[2] for slot in slots), "stages"}
    text = OmegaConf.to_yaml(config, resolve=False)
    for name in map(str, config):
        if name not in known and not re.search(rf"\$\{{{re.escape(name)}[}}.\[]", text):
            raise ValueError(f"every setting is read by something; nothing reads '{name}'{nearest(name, known)}")
