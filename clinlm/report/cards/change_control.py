"""A section in the shape of a predetermined change control plan: what was changed, by which protocol, to what effect.

And a record of the change that was made under it.

Source of the shape: FDA, "Marketing Submission Recommendations for a Predetermined Change Control Plan for Artificial
Intelligence-Enabled Device Software Functions". `STATUS` says what it is and since when.
"""

from collections.abc import Mapping
from typing import Final

from clinlm.report import cells
from clinlm.report.cards.facts import ModelFacts
from clinlm.report.cards.item_answer import ItemAnswer, joined, stated
from clinlm.report.cards.privacy import shown_command
from clinlm.report.gates import known_gates
from clinlm.report.written import read_json

STRESS: Final = "stress.json"
"""Left in the folder of a run by `clinlm stress`."""
STATUS: Final = (
    "FDA, Marketing Submission Recommendations for a Predetermined Change Control Plan for Artificial "
    "Intelligence-Enabled Device Software Functions: final guidance, docket FDA-2022-D-2628, announced on 2024-12-04 "
    "(89 FR 96259), issued again on 2025-08-18; recommendations, not binding. This section has the shape of its three "
    "parts. It is no plan that FDA has seen, and no advice on whether one is needed"
)


def change_control(facts: ModelFacts) -> Mapping[str, Mapping[str, ItemAnswer]]:
    """Return part of the plan -> heading -> statement."""
    return {
        "Description of modifications": _modifications(facts),
        "Modification protocol": _protocol(facts),
        "Impact assessment": _impact(facts),
        "Record of this change": _record(facts),
    }


def _modifications(facts: ModelFacts) -> dict[str, ItemAnswer]:
    own, before = facts.result, facts.reference
    change = (
        f"{before.name} ({before.parameters:,} parameters, {before.bytes / 2**20:.1f} MiB) is replaced by {own.name} "
        f"({own.parameters:,} parameters, {own.bytes / 2**20:.1f} MiB)"
        if before is not None
        else f"{own.name} is a first model and replaces none"
    )
    return {
        "What is modified": stated(change, f"means: {joined(facts.techniques, 'no compression')}"),
        "What stays": stated(
            "task, labels, input (the text of a note) and output (probabilities and decisions) stay the same"
        ),
        "Reason": stated(
            joined(facts.cost_lines(), "cost was not measured"), hospital="the need that the modification answers"
        ),
        "Further modifications that are planned": stated(hospital="modifications planned for later, and their limits"),
    }


def _protocol(facts: ModelFacts) -> dict[str, ItemAnswer]:
    run = facts.run
    limits = []
    for gate in known_gates(run):
        bounds = [f"loss of {cells.spelled(metric)} <= {limit:.1%}" for metric, limit in gate.metrics.items()]
        limits.append(f"gate {gate.name}: {', '.join(bounds)}")
    return {
        "Data management": stated(
            f"{facts.documents()}; all notes of a group are in one part; thresholds and choices come from validation",
            hospital="how new notes are collected, labelled and kept apart from those of the test",
        ),
        "Re-training": stated(
            f"the command {shown_command(facts.result.lineage.overrides)} builds it again"
            if facts.result.lineage.overrides
            else "",
            "a key names every artifact by its settings, data, parents and code, so a change of any is seen",
            hospital="when and by whom it is trained again",
        ),
        "Performance evaluation": stated(
            facts.margin() or "no margin was fixed",
            joined(limits, "no gates"),
            "paired on the same documents; intervals by bootstrap over groups",
        ),
        "Update procedure": stated(
            "clinlm predict with shadow= runs the old and the new model on live notes and reports how they differ",
            hospital="who releases an update, how users are told, and how it is taken back",
        ),
    }


def _impact(facts: ModelFacts) -> dict[str, ItemAnswer]:
    return {
        "With and without the modification": stated(
            joined(facts.quality_lines(), "no quality was measured"), facts.verdict(), *facts.agreement_lines()
        ),
        "Gates": stated(
            joined(facts.gate_lines(), "no gate judged this model"), hospital="which gate the risk of the use asks for"
        ),
        "Benefits": stated(
            joined(facts.cost_lines(), "cost was not measured"), hospital="benefits to patients and staff"
        ),
        "Risks": stated(
            joined(facts.limits(), "the records name none"),
            *facts.calibration_lines(),
            hospital="risks to patients when the model is wrong, and their mitigation",
        ),
        "Groups of patients": stated(
            joined(facts.gap_lines(), "no gap between subgroups was measured"),
            hospital="" if facts.gap_lines() else "effect of the modification on groups of patients",
        ),
        "Together with other modifications": stated(hospital="effect of several modifications together"),
    }


def _record(facts: ModelFacts) -> dict[str, ItemAnswer]:
    """Return what identifies this change, and whether it kept to the bounds that were fixed for it."""
    own, before = facts.result, facts.reference
    names = [f"new: {own.name}, key {own.key}"] if own.key else []
    names += [f"old: {before.name}, key {before.key}"] if before is not None and before.key else []
    tested = _stressed(facts)
    return {
        "Identity": stated(
            joined(names, "the models have no keys"),
            "the record.json of a model holds the sha256 of each of its files",
            hospital="the version under which it is released, and its date",
        ),
        "Within the bounds": stated(_bounds(facts), hospital="who decided that the change is within the plan"),
        "Changed notes": stated(*tested, hospital="" if tested else "tests on notes as they may arrive"),
        "After the release": stated(
            "clinlm predict with shadow= tells agreement and drift on live notes",
            hospital="what is watched, for how long, and at which number the old model returns",
        ),
    }


def _bounds(facts: ModelFacts) -> str:
    """Return whether the margin and the gates that were fixed before hold."""
    own = facts.result.non_inferiority
    held = [] if own is None else [f"margin of {100 * own.margin:g} points: {own.verdict}"]
    lines = [*held, *(f"gate {line}" for line in facts.gate_lines())]
    return joined(lines, "no bound was fixed, so that nothing shows whether the change is within a plan")


def _stressed(facts: ModelFacts) -> list[str]:
    """Return what the stress test of the run says, if `clinlm stress` was run; see `clinlm.report.stress`."""
    path = None if facts.run.place is None else facts.run.place / STRESS
    found = {} if path is None else read_json(path) or {}
    if found.get("compressed") != facts.result.lineage.stage:
        return []
    losses = {name: own.get("more") for name, own in found.items() if isinstance(own, dict)}
    more = [f"{name} {100 * own['value']:+.2f}" for name, own in losses.items() if own and own["value"] is not None]
    if not more:
        return []
    metric = cells.spelled(found["metric"])
    return [f"what it loses on changed notes beyond its original, points of {metric}: {'; '.join(more)}"]
