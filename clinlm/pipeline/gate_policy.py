"""By which techniques the stages of a pipeline compress, as a gate allows them, and which of them it judges."""

from collections.abc import Mapping, Sequence
from typing import Any

from clinlm.models.initializers.base import Initializer
from clinlm.pipeline.plan import Planned
from clinlm.pipeline.stage import Stage
from clinlm.training.teachers.tfidf import TFIDF

Techniques = Mapping[str, tuple[str, ...]]
"""Stage name -> keys of `clinlm.pipeline.gates.TECHNIQUES`."""

_PRUNING, _ITERATIVE = "pruning", "iterative_pruning"


def techniques(stages: Sequence[Planned]) -> dict[str, tuple[str, ...]]:
    """Return what every stage itself does.

    A method says which technique it is; learning from a teacher, its answers or its features, is distillation, whoever
    asks for it as its module.
    Recovery, LoRA and fine-tuning are none, for they make nothing smaller. Pruning is iterative where it is gradual, or
    where its line is pruned at least twice and trains after each time, before the next.
    """
    iterative = _iterative(stages)
    found = {}
    for one in stages:
        own = [_ITERATIVE if name == _PRUNING and one.name in iterative else name for name in _said(one.stage)]
        found[one.name] = tuple(dict.fromkeys(own))
    return found


def inherited(stages: Sequence[Planned]) -> dict[str, tuple[str, ...]]:
    """Return what every stage does and all that it comes from did: the stages it went on from, and its teachers."""
    own, found = techniques(stages), dict[str, tuple[str, ...]]()
    for one in stages:
        sources = [*one.teachers, *([one.parent] if one.parent else [])]
        before = [t for name in sources if name != TFIDF for t in found[name]]
        found[one.name] = tuple(dict.fromkeys([*before, *own[one.name]]))
    return found


def original(stages: Sequence[Planned]) -> str | None:
    """Return the name of the first stage of role teacher: the model before compression; None if there is none."""
    return next((one.name for one in stages if one.stage.role == "teacher"), None)


def judged(stages: Sequence[Planned]) -> set[str]:
    """Return the names of the stages that a gate judges: all but

    - the original, and other teachers that are trained from a start and not compressed;
    - a stage that the very next one recovers, which is judged when that is done. The last stage is always judged;
    - a stage that does not learn to answer (general distillation).
    """
    own, found = techniques(stages), set()
    for one, following in zip(stages, [*stages[1:], None], strict=True):
        whole = one.stage.role == "teacher" and isinstance(one.stage.start, Initializer) and not own[one.name]
        if whole or not one.stage.answers or (following is not None and _recovers(following, one, own)):
            continue
        found.add(one.name)
    return found - {original(stages)}


def _recovers(following: Planned, one: Planned, own: Techniques) -> bool:
    return following.parent == one.name and trains(following.stage) and not own[following.name]


def trains(stage: Stage) -> bool:
    """Return whether anything learns in a stage."""
    return stage.epochs > 0 or any(getattr(one, "epochs", 0) for one in _callbacks(stage))


def _callbacks(stage: Stage) -> list[Any]:
    return list((stage.callbacks or {}).values())


def _said(stage: Stage) -> list[str]:
    learns = getattr(getattr(stage.module, "func", stage.module), "needs_teacher", False) or stage.wants_network
    methods = [getattr(one, "technique", None) for one in _callbacks(stage)]
    return [*(["distillation"] if learns else []), *(one for one in methods if one is not None)]


def _iterative(stages: Sequence[Planned]) -> set[str]:
    """Return the names of the stages whose pruning is iterative."""
    by_name = {one.name: one for one in stages}
    gradual = [one.name for one in stages if any(_gradual(method) for method in _callbacks(one.stage))]
    found = set(gradual)
    for one in stages:
        rounds: list[list[str]] = []
        cut: list[str] = []
        for each in _line(one, by_name):
            cut += [each.name] if _PRUNING in _said(each.stage) else []
            if cut and trains(each.stage):
                rounds.append(cut)
                cut = []
        if len(rounds) > 1:
            found |= {name for each_round in rounds for name in each_round}
    return found


def _gradual(method: Any) -> bool:
    return getattr(method, "technique", None) == _PRUNING and bool(getattr(method, "needs_training", False))


def _line(one: Planned, by_name: Mapping[str, Planned]) -> list[Planned]:
    """Return the stages that `one` goes on from, the first at the front, and itself."""
    line = [one]
    while line[0].parent is not None:
        line.insert(0, by_name[line[0].parent])
    return line
