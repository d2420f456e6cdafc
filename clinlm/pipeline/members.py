"""Stages that stand for several which begin alike and differ in some settings: the members of an ensemble."""

from collections.abc import Mapping
from typing import Any


def members(name: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the stages that a stage with `members` stands for: NAME_1 to NAME_n, which all begin alike.

    Each is the stage with its own differences merged in, setting by setting; what names a class of its own
    (`_target_`) takes the place of what was there. A single member is the stage itself, under its own name. A seed is a
    seed: it is not added to the pipeline's.

    Raises:
        ValueError: `members` is no list of differences, two members are the same, or the stage is also done several
            times.
    """
    alone = dict(settings)
    differences = alone.pop("members", None)
    if differences is None:
        return {name: alone}
    if not isinstance(differences, list) or not differences or not all(isinstance(one, dict) for one in differences):
        raise ValueError(
            f"members are differences of settings, one a member, such as [{{}}, {{seed: 1}}]; stages.{name}.members is "
            f"{differences!r}"
        )
    found = [_merged(alone, one) for one in differences]
    if len(found) == 1:
        return {name: found[0]}
    if "times" in alone:
        raise ValueError(f"a stage is done several times or has several members; stages.{name} has both; take one out")
    for second, one in enumerate(found):
        if one in found[:second]:
            raise ValueError(
                f"members differ, or an ensemble counts one model twice; of stages.{name}.members number "
                f"{found.index(one) + 1} and {second + 1} come to the same settings (seed {one.get('seed')}); give one "
                "of them another seed, start or module"
            )
    return {f"{name}_{number}": one for number, one in enumerate(found, 1)}


def _merged(settings: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for name, value in difference.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict) and "_target_" not in value
        merged[name] = _merged(merged[name], value) if both else value
    return merged
