"""Shell completion of the commands, `clinlm predict art<Tab>`: Hydra's completes pipelines only."""

import io
import os
import re
from collections.abc import Collection
from contextlib import redirect_stdout

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clinlm.config.validation import CONF

_GROUPS = {"check": (), "predict": (), "label": ("labeler", "corpus"), "documents": ("task",)}
_DOCUMENTS = ("output", "store")


def complete_command(line: str, commands: Collection[str]) -> tuple[list[str], bool]:
    """Return what can follow a command line, and whether that is all: of the name of a command, Hydra completes more.

    Args:
        line: as typed so far, with the program: the environment variable COMP_LINE.
        commands: names of the commands.
    """
    _, _, rest = line.lstrip().partition(" ")
    command, space, rest = rest.lstrip().partition(" ")
    if not space:
        return sorted(name for name in commands if name.startswith(command)), False
    if command not in commands:
        return [], False
    if command == "report":  # its words are kinds and folders
        return [], True
    *earlier, word = rest.split(" ")
    groups = _GROUPS[command]
    keys = _DOCUMENTS if command == "documents" else tuple(map(str, OmegaConf.load(CONF / f"{command}.yaml")))
    overrides = [argument for argument in earlier if re.split("[.=]", argument)[0] in groups]
    found = _query("config" if command == "documents" else command, " ".join(["clinlm", *overrides, word]))
    found |= {f"{key}=" for key in _DOCUMENTS if command == "documents" and key.startswith(word)}
    return sorted(choice for choice in found if re.split("[.=]", choice)[0] in {*keys, *groups} - {"defaults"}), True


def _query(name: str, line: str) -> set[str]:
    """Return what Hydra suggests after `line`, for the configuration `name`; nothing if `line` cannot be composed."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"), redirect_stdout(io.StringIO()) as printed:
        loader = GlobalHydra.instance().config_loader()
        kinds = [kind for kind in Plugins.instance().discover() if issubclass(kind, CompletionPlugin)]
        by_line = next(kind for kind in kinds if kind.provides() == "fish")
        os.environ["COMP_LINE"] = line
        try:
            by_line(loader).query(name)
        except (HydraException, OmegaConfBaseException):
            return set()
    return {*printed.getvalue().splitlines()}
