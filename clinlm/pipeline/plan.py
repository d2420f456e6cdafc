"""The plan of a pipeline: its stages as plain data, in order, with their parents, before anything is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from clinlm.config.errors import ConfigError
from clinlm.config.settings import plain
from clinlm.config.usage import left_out
from clinlm.models.initializers.base import Initializer
from clinlm.pipeline import gate_policy
from clinlm.pipeline.dry_run import check_shapes
from clinlm.pipeline.expansion import expand_members, expand_steps
from clinlm.pipeline.gates import open_gate
from clinlm.pipeline.stage import Stage
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.training.teachers.tfidf import TFIDF


def plan(config: DictConfig) -> list[StageSpec]:
    """Return all stages of `config` in order, without those left out, with those that stand for several expanded.

    Every stage is built once and thrown away, so a bad value fails now and not when the stage's turn comes.

    Raises:
        ConfigError: there is no stage, a setting is out of its range, two members of a stage are equal, or a stage
            names one that does not run before it, or several where it needs one; or as `gate_policy.check`.
        GateFailed: the gate does not allow a stage's technique.
        ModelError: a stage cannot be applied to the network that it starts from; see `check_shapes`.
    """
    absent = left_out(config)
    every = {str(name): plain(config.stages[name]) for name in config.stages or {} if name not in absent}
    if not every:
        raise ConfigError("a pipeline must have stages, got none; choose one with pipeline=a|b|c|baseline")
    if TFIDF in every:
        raise ConfigError(f"stages must not be named {TFIDF!r}, the TF-IDF baseline; rename stages.{TFIDF}")
    plans = _Plan(absent)
    for name, settings in every.items():
        settings.pop("method", None)
        members = {own: _without_empty(member) for own, member in expand_members(name, settings).items()}
        if len(members) > 1:
            plans.add(name, [plans.spec(own, member, name) for own, member in members.items()])
            continue
        for own, step in expand_steps(name, members[name]).items():
            plans.add(name, [plans.spec(own, step)])
    gate = open_gate(config)
    if gate is not None:
        gate_policy.check(gate, plans.stages)
    check_shapes(plans.stages)
    return plans.stages


def planned(
    name: str, settings: Mapping[str, Any], stage: Stage, parent: str | None, teachers: tuple[str, ...], group: str = ""
) -> StageSpec:
    """Return the spec of a stage; `parent`, `teachers` and `group` as in `StageSpec`."""
    start = stage.start if isinstance(stage.start, Initializer) else None
    return StageSpec(
        name=name,
        role=stage.role,
        settings=settings,
        parent=parent,
        teachers=teachers,
        group=group,
        answers=stage.module.kind.answers,
        needs_logits=stage.needs_logits,
        trains=stage.trains,
        techniques=stage.techniques,
        gradual=any(own.technique == "pruning" and own.needs_training for own in stage.declared),
        fingerprint=start.fingerprint() if start is not None else None,
        checkpoint=start.checkpoint if start is not None else None,
        texts=None if stage.augmentation is None else stage.augmentation.fingerprint(),
    )


def _without_empty(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without slots that are null (callbacks, augmentation, hidden-state loss): no key has them."""
    settings = {name: value for name, value in settings.items() if (name, value) != ("augmentation", None)}
    callbacks = {name: own for name, own in (settings.get("callbacks") or {}).items() if own is not None}
    settings = settings | {"callbacks": callbacks} if "callbacks" in settings else settings
    module = settings.get("module") or {}
    module = {name: value for name, value in module.items() if (name, value) != ("hidden_state_loss", None)}
    return settings | {"module": module} if "module" in settings else settings


class _Plan:
    """The stages planned so far, which the next may name.

    Args:
        absent: stages that are left out, and their method.
    """

    def __init__(self, absent: Mapping[str, str]) -> None:
        self.stages: list[StageSpec] = []
        self._absent = absent
        self._named: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, stages: Sequence[StageSpec]) -> None:
        """Add the specs of the stage `name` of the configuration; of several steps the last bears the name."""
        self.stages += stages
        self._named[name] = tuple(spec.name for spec in stages)

    def spec(self, name: str, settings: Mapping[str, Any], group: str = "") -> StageSpec:
        """Return the spec of a stage, its parent and teachers resolved."""
        stage = Stage.from_settings(settings)
        return planned(name, settings, stage, self._parent(name, stage), self._teachers(name, stage), group)

    def _parent(self, name: str, stage: Stage) -> str | None:
        if isinstance(stage.start, Initializer):
            return None
        if stage.start is not None:
            found, wanted = self._find(name, "start", stage.start), f"{stage.start!r}"
        else:
            line = [spec for spec in self.stages if spec.role == stage.role]
            if not line:
                raise ConfigError(
                    f"stage {name!r} continues the latest stage of role {stage.role!r}, but none runs before it; set "
                    f"stages.{name}.start to a model or an earlier stage"
                )
            found, wanted = self._members(line[-1]), f"the latest of role {stage.role!r}"
        if len(found) > 1:
            raise ConfigError(
                f"stage {name!r} must continue one stage, got {' and '.join(found)} ({wanted}); set "
                f"stages.{name}.start to one, or give the stage members: "
                f"'[{{start: {found[0]}}}, {{start: {found[1]}}}]'"
            )
        return found[0]

    def _teachers(self, name: str, stage: Stage) -> tuple[str, ...]:
        if not stage.needs_teacher:
            return ()
        if stage.teachers is not None:
            found = tuple(own for wanted in stage.teachers for own in self._find(name, "teachers", wanted))
        else:
            line = [spec for spec in self.stages if spec.role == "teacher"]
            if not line:
                raise ConfigError(f"stage {name!r} needs a teacher, but no stage of role teacher runs before it")
            found = self._members(line[0] if stage.role == "teacher" else line[-1])
            found = found if stage.needs_logits else found[:1]  # a network to start from or to imitate is one
        if not found or len(set(found)) < len(found):
            raise ConfigError(
                f"stages.{name}.teachers must name at least one teacher, each once; got {list(found)}; correct them"
            )
        if set(found) == {TFIDF} and stage.needs_network:
            raise ConfigError(
                f"stage {name!r} needs a teacher that is a network, to start from or to imitate, got {TFIDF}; name a "
                f"stage in stages.{name}.teachers as well"
            )
        return found

    def _members(self, spec: StageSpec) -> tuple[str, ...]:
        return self._named[spec.group] if spec.group else (spec.name,)

    def _find(self, name: str, what: str, wanted: str) -> tuple[str, ...]:
        """Return the names that a setting of a stage refers to: one stage, or all members of one."""
        ran = [spec.name for spec in self.stages]
        if wanted == TFIDF and what == "teachers":
            return (TFIDF,)
        if wanted in self._absent:
            raise ConfigError(
                f"stage {name!r} needs {what} {wanted!r}, which is left out ({self._absent[wanted]}=none); remove "
                f"stages.{name} as well, or correct stages.{name}.{what}"
            )
        found = self._named.get(wanted, (wanted,))
        if not set(found) <= set(ran):
            raise ConfigError(
                f"stage {name!r} needs {what} {wanted!r}, but only {ran} run before it; correct stages.{name}.{what}"
            )
        return found
