"""The command line: run a pipeline, or a sweep of them, and print what it cost and what it gained."""

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clinlm import machine

_HERE = Path(__file__).parent
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"
"""The configuration: inside the package when installed from a wheel, beside it in a checkout."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def launch(config: DictConfig) -> float:
    """Run one pipeline; returns the monitored quality of its last stage on test, for sweepers that optimise."""
    from clinlm.run import run

    return run(config)


def main() -> None:
    """Entry point: errors that a user can mend are one paragraph, not a traceback."""
    machine.register()
    # Hydra's parser wants all overrides together; `clinlm +experiment=x -m pipeline=a,b` is what people type.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    traceback = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises to us instead of printing and exiting
    try:
        launch()
    except (HydraException, OmegaConfBaseException, ValueError, FileNotFoundError, OSError, RuntimeError) as error:
        if traceback:
            raise
        sys.exit(f"clinlm: {explained(error)}\n(HYDRA_FULL_ERROR=1 shows where)")
    except KeyboardInterrupt:
        sys.exit("clinlm: stopped; the same command goes on from here")


def explained(error: BaseException) -> str:
    """Return the message of `error`, with the nearest name where a group, option or key was mistyped."""
    message = str(error).strip()
    if isinstance(error, MissingConfigException) and error.options:
        wanted = str(error.missing_cfg_file).rpartition("/")[2]
        return f"{message.splitlines()[0]}{_nearest(wanted, error.options)}"
    mistyped = re.search(r"[Kk]ey '([^']+)' is not in struct|override '([^'=]+)'|overriding '([^'=]+)'", message)
    if mistyped:
        return f"{message.splitlines()[0]}{_nearest(next(g for g in mistyped.groups() if g), known_names())}"
    return message


def known_names() -> list[str]:
    """Return every key and group that the default configuration knows, dotted."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config")
    groups = [str(path.relative_to(CONF)) for path in CONF.iterdir() if path.is_dir()]
    return [*groups, *_keys(config, ""), *(name.rpartition(".")[2] for name in _keys(config, ""))]


def _keys(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, DictConfig):
        return []
    found = []
    for name in node:
        found.append(f"{prefix}{name}")
        if not (OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name)):
            found += _keys(node[name], f"{prefix}{name}.")
    return found


def _nearest(wanted: str, known: Any) -> str:
    close = difflib.get_close_matches(wanted, sorted(set(known)), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


if __name__ == "__main__":
    main()
