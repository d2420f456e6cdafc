"""What was chosen for a pipeline, as a reader of a dashboard wants it: options by name, and their numbers."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from omegaconf import DictConfig

from clinlm.config.settings import plain
from clinlm.config.usage import left_out, only_read, read_settings, used_settings

_ELSEWHERE = ("stages", "store", "staging", "upload", "logger", "report", "device", "resplits", "trainer", "allow")
"""What the stages are made of, and what changes no stage."""
_NUMBERS = "settings"


def chosen_settings(
    config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return, by stage, the settings that it reads, and by "" those of the whole pipeline.

    `prune: wanda` and `epochs: 3` are at the top, and the numbers of a group are below `settings`:
    `settings: {prune: {ratio: 0.3}}`. An option that was typed is among those of the pipeline though it is `none`.

    Args:
        config: with `stages`.
        choices: option of every group, `GROUP` or `GROUP@PACKAGE`, as Hydra has them.
        overrides: as they were typed.
    """
    used = plain(used_settings(config))
    idle = [*left_out(config)]
    named = {group: str(option) for group, option in choices.items() if option is not None and group not in _ELSEWHERE}
    typed = {override.lstrip("+~").partition("=")[0] for override in overrides}
    found = {"": _readable(used, named, typed)}
    for stage in map(str, config.stages):
        read = read_settings(config, [*idle, *(str(name) for name in config.stages if name != stage)])
        found[stage] = _readable(only_read(used, read), named, set())
    return found


def _readable(used: Mapping[str, Any], named: Mapping[str, str], typed: Set[str]) -> dict[str, Any]:
    """Return options by the name of their group, single settings, and below `settings` the numbers of groups."""
    found = {"pipeline": named.get("pipeline", "pipeline")}
    for group, option in named.items():
        name = group.rpartition("@")[2].rpartition("/")[2]
        if name.partition(".")[0] not in _ELSEWHERE and (group in typed or (name in used and option != "none")):
            found[name] = option
    numbers = {name: _bare(own) for name, own in used.items() if name not in _ELSEWHERE and isinstance(own, dict)}
    scalars = {name: own for name, own in used.items() if name not in (*_ELSEWHERE, *numbers, *found)}
    return found | scalars | {_NUMBERS: {name: own for name, own in numbers.items() if own}}


def _bare(node: Any) -> Any:
    """Return settings without names of classes, and without what is then empty."""
    if not isinstance(node, dict):
        return node
    cleaned = {name: _bare(own) for name, own in node.items() if not name.startswith("_")}
    return {name: own for name, own in cleaned.items() if own != {}}
