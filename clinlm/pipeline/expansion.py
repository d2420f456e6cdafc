"""Stages that stand for several: `members` of an ensemble, and `times` steps of iterative pruning."""

from collections.abc import Mapping
from typing import Any

from clinlm.config.errors import ConfigError
from clinlm.config.targets import find_target
from clinlm.training.stage_callback import StageCallback

Settings = dict[str, Any]
_DIGITS = 12
"""A ratio that is computed is rounded: processors differ in the last bit of a power, and it is part of a key."""


def expand_members(name: str, settings: Mapping[str, Any]) -> dict[str, Settings]:
    """Return the stages of a stage with `members`: NAME_1 to NAME_n, which start alike.

    Each is the stage with its own differences merged in, setting by setting; a difference with a class of its own
    (`_target_`) replaces the whole setting. A single member is the stage itself, under its own name. A member's seed is
    used as it is: it is not added to the pipeline's.

    Raises:
        ConfigError: `members` is no list of differences, two members are equal, or the stage also has `times`.
    """
    base = dict(settings)
    differences = base.pop("members", None)
    if differences is None:
        return {name: base}
    if not isinstance(differences, list) or not differences or not all(isinstance(d, dict) for d in differences):
        raise ConfigError(
            f"stages.{name}.members must be a list of differing settings, one per member, such as [{{}}, {{seed: 1}}]; "
            f"got {differences!r}"
        )
    found = [_merge(base, difference) for difference in differences]
    if len(found) == 1:
        return {name: found[0]}
    if "times" in base:
        raise ConfigError(f"stages.{name} must have either times or members, got both; remove one")
    for second, member in enumerate(found):
        if member in found[:second]:
            raise ConfigError(
                f"members must differ, or an ensemble counts one model twice; numbers {found.index(member) + 1} and "
                f"{second + 1} of stages.{name}.members have the same settings (seed {member.get('seed')}); give one "
                "another seed, start or module"
            )
    return {f"{name}_{number}": member for number, member in enumerate(found, 1)}


def expand_steps(name: str, settings: Mapping[str, Any]) -> dict[str, Settings]:
    """Return the stages of a stage with `times: k`: NAME_1 to NAME_k, each continuing the one before.

    Together they prune `ratio`: see `step_ratio`. Pruning `ratio` / k of what is left at each step, as the paper on
    clinical edge deployment does, would end short of it. A method with a `target` gets the number of steps that remain,
    and does its part: see `remaining_steps`.

    Raises:
        ConfigError: `times` is no number from 1 on, or the stage prunes by no ratio and to no target.
    """
    step = dict(settings)
    times = step.pop("times", None)
    if times is None:
        return {name: step}
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ConfigError(f"stages.{name}.times must be a whole number of at least 1, got {times!r}; set steps")
    callbacks = step.get("callbacks") or {}
    aims = {key: own for key, own in callbacks.items() if {"ratio", "target"} & own.keys()}
    shared = {key: own for key, own in aims.items() if _declared(own).technique == "pruning"}
    if not shared:
        raise ConfigError(
            f"a stage with steps must prune by a ratio or to a target, got no such method in stages.{name}; choose "
            "prune=magnitude, prune=unstructured, prune=structured, or a pipeline without steps"
        )
    stages = {}
    for number in range(1, times + 1):
        parts = {key: _share(own, number, times) for key, own in shared.items()}
        stages[f"{name}_{number}"] = step | {
            "start": step.get("start") if number == 1 else f"{name}_{number - 1}",
            "callbacks": {key: own | parts.get(key, {}) for key, own in callbacks.items()},
        }
    return stages


def step_ratio(ratio: float, step: int, steps: int, counts_zeros: bool) -> float:
    """Return the ratio of one of `steps` steps, each of which leaves the same share of what it finds.

    Args:
        ratio: of all steps together, in (0, 1); others are returned as they are, for the method to refuse.
        step: from 1 to `steps`.
        counts_zeros: see `StageCallback.counts_zeros`.
    """
    if not 0 < ratio < 1:
        return ratio
    left: float = (1 - ratio) ** (1 / steps)
    return round(1 - left**step if counts_zeros else 1 - left, _DIGITS)


def remaining_steps(target: str, step: int, steps: int) -> int:
    """Return how many of `steps` steps remain for a method with a target, this one included.

    Each step lowers the cost by the same factor: the n-th root of the factor between the cost that it finds and the
    target. With a target in percent of the cost that it finds, every step counts as the first.

    Args:
        target: ends with % where it is relative.
        step: from 1 to `steps`.
    """
    return steps if target.endswith("%") else steps - step + 1


def _share(settings: Mapping[str, Any], step: int, steps: int) -> Settings:
    if "target" in settings:
        return {"remaining": remaining_steps(settings["target"], step, steps)}
    return {"ratio": step_ratio(settings["ratio"], step, steps, _declared(settings).counts_zeros)}


def _declared(settings: Mapping[str, Any]) -> type[StageCallback]:
    """Return the class of a callback; `StageCallback` itself for one that declares nothing."""
    kind = find_target(settings["_target_"])
    return kind if isinstance(kind, type) and issubclass(kind, StageCallback) else StageCallback


def _merge(settings: Mapping[str, Any], difference: Mapping[str, Any]) -> Settings:
    merged = dict(settings)
    for name, value in difference.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict) and "_target_" not in value
        merged[name] = _merge(merged[name], value) if both else value
    return merged
