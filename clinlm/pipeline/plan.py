"""What a pipeline is going to do: its stages in order, each with those it comes from, before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm.models.initializers.base import Initializer
from clinlm.pipeline.members import members
from clinlm.pipeline.stage import Stage
from clinlm.training.teachers.tfidf import TFIDF

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
        teachers: names of the stages it learns from, and `TFIDF`.
        group: the stage of the configuration that it is a member of; "" if it is no member.
    """

    name: str
    settings: Mapping[str, Any]
    stage: Stage
    parent: str | None
    teachers: tuple[str, ...]
    group: str = ""


def planned(config: DictConfig) -> list[Planned]:
    """Return all stages of `config`, in order: without those left out, and with those that stand for several.

    Raises:
        ValueError: there is no stage, a setting is out of its range, two members of a stage are the same, or a stage
            names one that does not run before it, or several where it needs one.
    """
    absent = left_out(config)
    every = {str(name): plain(config.stages[name]) for name in config.stages or {} if name not in absent}
    if not every:
        raise ValueError("a pipeline has stages; this one has none; choose one with pipeline=a|b|c|baseline")
    if TFIDF in every:
        raise ValueError(
            f"{TFIDF!r} is the name of the baseline among teachers; no stage has it; call stages.{TFIDF} another"
        )
    done = _Done(absent)
    for name, settings in every.items():
        alike = {own: _without_nothing(one) for own, one in members(name, settings).items()}
        if len(alike) > 1:
            done.add(name, [done.planned(own, one, name) for own, one in alike.items()])
            continue
        for own, step in expanded(name, alike[name]).items():
            done.add(name, [done.planned(own, step)])
    return done.stages


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
    Where a method has a `target`, it is told how many steps remain, and goes its part of the way: see `steps_to`.

    Raises:
        ValueError: `times` is no number from 1 on, or the stage prunes by no ratio and to no target.
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
    aims = {one: own for one, own in callbacks.items() if {"ratio", "target"} & own.keys()}
    shared = {one: own for one, own in aims.items() if _method(own).technique == "pruning"}
    if not shared:
        raise ValueError(
            f"steps share out a ratio or a target; stages.{name} has no method that prunes by one; choose "
            "prune=magnitude, prune=unstructured, prune=structured, or a pipeline without steps"
        )
    stages = {}
    for number in range(1, times + 1):
        parts = {one: _part(own, number, times) for one, own in shared.items()}
        stages[f"{name}_{number}"] = step | {
            "start": step.get("start") if number == 1 else f"{name}_{number - 1}",
            "callbacks": {one: own | parts.get(one, {}) for one, own in callbacks.items()},
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


def steps_to(target: str, step: int, steps: int) -> int:
    """Return how many of `steps` steps a method with a target is told that remain.

    Each step takes the cost down by the same factor: the n-th root of what lies between the cost that it finds and the
    target. To a target in percent of the cost that it finds, every step is the first of all.

    Args:
        target: ends with % where it is relative.
        step: from 1 to `steps`.
        steps: how many.
    """
    return steps if target.endswith("%") else steps - step + 1


def plain(node: Any) -> dict[str, Any]:
    """Return settings as plain JSON, every interpolation resolved."""
    resolved = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(name): value for name, value in resolved.items()}


def _without_nothing(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without slots that are null (callbacks, augmentation, hidden-state loss): no key has them."""
    settings = {name: one for name, one in settings.items() if (name, one) != ("augmentation", None)}
    callbacks = {name: one for name, one in (settings.get("callbacks") or {}).items() if one is not None}
    settings = settings | {"callbacks": callbacks} if "callbacks" in settings else settings
    module = {
        name: one for name, one in (settings.get("module") or {}).items() if (name, one) != ("hidden_state_loss", None)
    }
    return settings | {"module": module} if "module" in settings else settings


def _method(settings: Mapping[str, Any]) -> Any:
    return get_object(settings["_target_"])


def _part(settings: Mapping[str, Any], step: int, steps: int) -> dict[str, Any]:
    """Return the settings of a method that are its own at a step."""
    if "target" in settings:
        return {"remaining": steps_to(settings["target"], step, steps)}
    return {"ratio": share(settings["ratio"], step, steps, _method(settings).counts_zeros)}


class _Done:
    """The stages that are planned so far, and what the next may name.

    Args:
        absent: stages that are left out, and their method.
    """

    def __init__(self, absent: Mapping[str, str]) -> None:
        self.stages: list[Planned] = []
        self._absent = absent
        self._named: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, stages: Sequence[Planned]) -> None:
        """Add what the stage `name` of the configuration stands for; of several steps the last is it."""
        self.stages += stages
        self._named[name] = tuple(one.name for one in stages)

    def planned(self, name: str, settings: Mapping[str, Any], group: str = "") -> Planned:
        """Return a stage with those it comes from."""
        stage: Stage = instantiate(settings)
        return Planned(name, settings, stage, self._parent(name, stage), self._teachers(name, stage), group)

    def _parent(self, name: str, stage: Stage) -> str | None:
        if isinstance(stage.start, Initializer):
            return None
        if stage.start is not None:
            found, told = self._find(name, "start", stage.start), f"{stage.start!r}"
        else:
            line = [one for one in self.stages if one.stage.role == stage.role]
            if not line:
                raise ValueError(
                    f"stage {name!r} goes on from the latest stage of role {stage.role!r}, but none ran before it; "
                    f"give stages.{name}.start a model or an earlier stage"
                )
            found, told = self._alike(line[-1]), f"the latest of role {stage.role!r}"
        if len(found) > 1:
            raise ValueError(
                f"stage {name!r} goes on from one stage; {told} is {' and '.join(found)}; set stages.{name}.start to "
                f"one of them, or give it members: '[{{start: {found[0]}}}, {{start: {found[1]}}}]'"
            )
        return found[0]

    def _teachers(self, name: str, stage: Stage) -> tuple[str, ...]:
        if not stage.needs_teacher:
            return ()
        if stage.teachers is not None:
            found = tuple(one for wanted in stage.teachers for one in self._find(name, "teachers", wanted))
        else:
            line = [one for one in self.stages if one.stage.role == "teacher"]
            if not line:
                raise ValueError(f"stage {name!r} needs a teacher, but no stage of role teacher ran before it")
            found = self._alike(line[0] if stage.role == "teacher" else line[-1])
            found = found if stage.wants_logits else found[:1]  # a network to begin from or to look into is one
        if not found or len(set(found)) < len(found):
            raise ValueError(
                f"stage {name!r} learns from at least one teacher, from each once; stages.{name}.teachers come to "
                f"{list(found)}; correct them"
            )
        if set(found) == {TFIDF} and not stage.only_logits:
            raise ValueError(
                f"stage {name!r} needs a teacher that is a network, to begin from or to imitate; {TFIDF} is none; name "
                f"a stage in stages.{name}.teachers as well"
            )
        return found

    def _alike(self, one: Planned) -> tuple[str, ...]:
        return self._named[one.group] if one.group else (one.name,)

    def _find(self, name: str, what: str, wanted: str) -> tuple[str, ...]:
        """Return the names of what a stage asks for: one stage, or all members of one."""
        ran = [one.name for one in self.stages]
        if wanted == TFIDF and what == "teachers":
            return (TFIDF,)
        if wanted in self._absent:
            raise ValueError(
                f"stage {name!r} wants {what} {wanted!r}, which is left out ({self._absent[wanted]}=none); take "
                f"stages.{name} out as well, or correct stages.{name}.{what}"
            )
        found = self._named.get(wanted, (wanted,))
        if not set(found) <= set(ran):
            raise ValueError(
                f"stage {name!r} wants {what} {wanted!r}, but only {ran} ran before it; correct stages.{name}.{what}"
            )
        return found
