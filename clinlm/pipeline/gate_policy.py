"""Compression techniques of each stage, for gates, and which stages a gate judges."""

from collections.abc import Mapping, Sequence

from clinlm.config.errors import ConfigError
from clinlm.pipeline.gates import Gate, Verdict, spell_out
from clinlm.pipeline.results import GateFailed
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.training.teachers.tfidf import TFIDF

Techniques = Mapping[str, tuple[str, ...]]
"""Stage name -> keys of `clinlm.pipeline.gates.TECHNIQUES`."""

_PRUNING, _ITERATIVE = "pruning", "iterative_pruning"


def techniques(stages: Sequence[StageSpec]) -> dict[str, tuple[str, ...]]:
    """Return the techniques of every stage itself.

    A method declares its technique. Recovery, LoRA and fine-tuning are none, for they make nothing smaller. Pruning is
    iterative where it is gradual, or where its line of stages is pruned at least twice, with training after each time.
    """
    iterative = _iterative(stages)
    found = {}
    for spec in stages:
        own = [_ITERATIVE if t == _PRUNING and spec.name in iterative else t for t in spec.techniques]
        found[spec.name] = tuple(dict.fromkeys(own))
    return found


def inherited_techniques(stages: Sequence[StageSpec]) -> dict[str, tuple[str, ...]]:
    """Return the techniques of every stage and of all that it comes from: its ancestors and its teachers."""
    own, found = techniques(stages), dict[str, tuple[str, ...]]()
    for spec in stages:
        sources = [*spec.teachers, *([spec.parent] if spec.parent else [])]
        before = [technique for name in sources if name != TFIDF for technique in found[name]]
        found[spec.name] = tuple(dict.fromkeys([*before, *own[spec.name]]))
    return found


def find_original(stages: Sequence[StageSpec]) -> str | None:
    """Return the name of the first stage of role teacher, the model before compression; None if there is none."""
    return next((spec.name for spec in stages if spec.role == "teacher"), None)


def judged_stages(stages: Sequence[StageSpec]) -> set[str]:
    """Return the names of the stages that a gate judges: all but

    - the original, and other teachers that have an initializer and are not compressed;
    - a stage that the very next one recovers, which is judged instead. The last stage is always judged;
    - a stage that does not learn to answer (general distillation).
    """
    own, found = techniques(stages), set()
    for spec, following in zip(stages, [*stages[1:], None], strict=True):
        whole = spec.role == "teacher" and spec.parent is None and not own[spec.name]
        if whole or not spec.answers or (following is not None and _recovers(following, spec, own)):
            continue
        found.add(spec.name)
    return found - {find_original(stages)}


def check(gate: Gate, stages: Sequence[StageSpec]) -> None:
    """Check, before anything is trained, that the gate has an original to compare with and allows every technique.

    Raises:
        ConfigError: there is no stage of role teacher, or it is itself compressed.
        GateFailed: the gate does not allow a stage's technique.
    """
    own, original = techniques(stages), find_original(stages)
    if original is None:
        raise ConfigError(
            "a gate compares with the model before compression, the first stage of role teacher; the pipeline has "
            "none; add one (stages.NAME.role=teacher), or set gate=none"
        )
    if own[original]:
        raise ConfigError(
            "a gate compares with the model before compression, the first stage of role teacher; "
            f"{original!r} is itself compressed ({_spell_out(own[original])}); compress in a later stage, or set "
            "gate=none"
        )
    verdicts = [Verdict(gate.name, spec.name, gate.refused(own[spec.name])) for spec in stages]
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        refused = "; ".join(f"stage {verdict.subject!r} uses {_spell_out(verdict.refused)}" for verdict in failed)
        raise GateFailed(
            f"gate {gate.name} does not allow every technique: {refused}; nothing was trained; use one that it allows: "
            f"{gate.alternatives()}",
            verdicts=failed,
        )


def _spell_out(names: Sequence[str]) -> str:
    return " and ".join(map(spell_out, names))


def _recovers(following: StageSpec, spec: StageSpec, own: Techniques) -> bool:
    return following.parent == spec.name and following.trains and not own[following.name]


def _iterative(stages: Sequence[StageSpec]) -> set[str]:
    """Return the names of the stages whose pruning is iterative."""
    by_name = {spec.name: spec for spec in stages}
    found = {spec.name for spec in stages if spec.gradual}
    for spec in stages:
        rounds: list[list[str]] = []
        cut: list[str] = []
        for ancestor in _line(spec, by_name):
            cut += [ancestor.name] if _PRUNING in ancestor.techniques else []
            if cut and ancestor.trains:
                rounds.append(cut)
                cut = []
        if len(rounds) > 1:
            found |= {name for names in rounds for name in names}
    return found


def _line(spec: StageSpec, by_name: Mapping[str, StageSpec]) -> list[StageSpec]:
    """Return the stages that `spec` continues, the first in front, and itself."""
    line = [spec]
    while line[0].parent is not None:
        line.insert(0, by_name[line[0].parent])
    return line
