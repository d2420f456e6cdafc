"""What a pipeline is going to do: its stages in order, each with those it comes from, before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm.stage import Stage
from clinlm.starts.base import Start

_COMPRESSES = ("prune", "factorize", "quantize")
_RECOVERS = ("recover",)
_DIGITS = 12
"""A ratio that is computed is rounded: processors differ in the last bit of a power, and it is part of a key."""


@final
@dataclass(frozen=True)
class Planned:
    """A stage and where it comes from.

    Attributes:
        name: of the stage.
        settings: resolved; what its key is made of.
        stage: built from them.
        parent: name of the stage it goes on from; None if it begins from a start.
        teachers: names of the stages it learns from.
    """

    name: str
    settings: Mapping[str, Any]
    stage: Stage
    parent: str | None
    teachers: tuple[str, ...]


def planned(config: DictConfig) -> list[Planned]:
    """Return all stages of `config`, in order: without those left out, and with those that stand for several.

    Raises:
        ValueError: there is no stage, a setting is out of its range, or a stage names one that does not run before it.
    """
    absent = left_out(config)
    every = {str(name): plain(config.stages[name]) for name in config.stages or {} if name not in absent}
    if not every:
        raise ValueError("a pipeline has stages; this one has none; choose one with pipeline=a|b|c|baseline")
    last: dict[str, str] = {}
    done: list[Planned] = []
    for name, settings in every.items():
        for own, step in expanded(name, _without_nothing(settings)).items():
            stage: Stage = instantiate(step)
            parent = _parent(own, stage, done, last, absent)
            done.append(Planned(own, step, stage, parent, _teachers(own, stage, done, last, absent)))
        last[name] = done[-1].name
    return done


def left_out(config: DictConfig) -> dict[str, str]:
    """Return the stages whose method is null (`quantize=none`), and which method that is.

    A stage is there for its methods that compress, or else for its recovery. Any other callback that is null is merely
    none.
    """
    found = {}
    for name in config.stages or {}:
        callbacks = plain(config.stages[name]).get("callbacks") or {}
        purpose = [one for one in _COMPRESSES if one in callbacks] or [one for one in _RECOVERS if one in callbacks]
        found.update({str(name): one for one in purpose if callbacks[one] is None})
    return found


def expanded(name: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the stages that a stage with `times: k` stands for: NAME_1 to NAME_k, each going on from the one before.

    Together they prune `ratio`: see `share`. S4's own loop, `ratio` / k of what is left at each step, ends short of it.

    Raises:
        ValueError: `times` is no number from 1 on, or the stage prunes by no ratio.
    """
    step = dict(settings)
    times = step.pop("times", None)
    if times is None:
        return {name: step}
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ValueError(
            f"a stage is done at least once; stages.{name}.times is {times!r}; set steps to a number from 1 on"
        )
    callbacks = step.get("callbacks") or {}
    shared = {one: own for one, own in callbacks.items() if "ratio" in own and _method(own).technique == "pruning"}
    if not shared:
        raise ValueError(
            f"steps share out a ratio; stages.{name} has no method that prunes by one; choose prune=magnitude, "
            "prune=unstructured, or a pipeline without steps"
        )
    stages = {}
    for number in range(1, times + 1):
        ratios = {one: share(own["ratio"], number, times, _method(own).counts_zeros) for one, own in shared.items()}
        stages[f"{name}_{number}"] = step | {
            "start": step.get("start") if number == 1 else f"{name}_{number - 1}",
            "callbacks": {
                one: own | {"ratio": ratios[one]} if one in ratios else own for one, own in callbacks.items()
            },
        }
    return stages


def share(ratio: float, step: int, steps: int, counts_zeros: bool) -> float:
    """Return the ratio of one of `steps` steps, all of which leave the same share of what they find.

    Args:
        ratio: of all steps together, in (0, 1); others are returned as they are, for the method to refuse.
        step: from 1 to `steps`.
        steps: how many.
        counts_zeros: whether the method's ratio is of all that was there before the first step, or of what is left.
    """
    if not 0 < ratio < 1:
        return ratio
    left: float = (1 - ratio) ** (1 / steps)
    return round(1 - left**step if counts_zeros else 1 - left, _DIGITS)


def plain(node: Any) -> dict[str, Any]:
    """Return settings as plain JSON, every interpolation resolved."""
    resolved = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(name): value for name, value in resolved.items()}


def _without_nothing(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out callbacks that are null."""
    callbacks = {name: one for name, one in (settings.get("callbacks") or {}).items() if one is not None}
    return settings | {"callbacks": callbacks} if "callbacks" in settings else settings


def _method(settings: Mapping[str, Any]) -> Any:
    return get_object(settings["_target_"])


def _parent(
    name: str, stage: Stage, done: Sequence[Planned], last: Mapping[str, str], absent: Mapping[str, str]
) -> str | None:
    if isinstance(stage.start, Start):
        return None
    if stage.start is not None:
        return _named(name, "start", stage.start, done, last, absent)
    line = [one.name for one in done if one.stage.role == stage.role]
    if not line:
        raise ValueError(
            f"stage {name!r} goes on from the latest stage of role {stage.role!r}, but none ran before it; "
            f"give stages.{name}.start a model or an earlier stage"
        )
    return line[-1]


def _teachers(
    name: str, stage: Stage, done: Sequence[Planned], last: Mapping[str, str], absent: Mapping[str, str]
) -> tuple[str, ...]:
    if not stage.needs_teacher:
        return ()
    if stage.teachers is not None:
        return tuple(_named(name, "teachers", one, done, last, absent) for one in stage.teachers)
    line = [one.name for one in done if one.stage.role == "teacher"]
    if not line:
        raise ValueError(f"stage {name!r} needs a teacher, but no stage of role teacher ran before it")
    return (line[0] if stage.role == "teacher" else line[-1],)


def _named(
    name: str, what: str, wanted: str, done: Sequence[Planned], last: Mapping[str, str], absent: Mapping[str, str]
) -> str:
    """Return the name of a stage that ran; a stage of several steps is its last."""
    ran = [one.name for one in done]
    if wanted in absent:
        raise ValueError(
            f"stage {name!r} wants {what} {wanted!r}, which is left out ({absent[wanted]}=none); take stages.{name} "
            f"out as well, or correct stages.{name}.{what}"
        )
    found = last.get(wanted, wanted)
    if found not in ran:
        raise ValueError(
            f"stage {name!r} wants {what} {wanted!r}, but only {ran} ran before it; correct stages.{name}.{what}"
        )
    return found
