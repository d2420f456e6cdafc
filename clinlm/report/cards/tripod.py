"""What the records of a run say about each item of TRIPOD+AI (`clinlm.report.cards.tripod_items`)."""

from collections.abc import Mapping

from clinlm import __version__
from clinlm.report import cells
from clinlm.report.cards.facts import ModelFacts
from clinlm.report.cards.item_answer import ItemAnswer, joined, stated
from clinlm.report.cards.privacy import shown_command

_NO_GROUPS = "no attribute of patients was read with the notes, so nothing is known about sociodemographic groups"
_OF_GROUPS = "whether this is alike across sociodemographic groups"


def tripod_statements(facts: ModelFacts) -> Mapping[str, ItemAnswer]:
    """Return number of an item -> its statement."""
    return {
        **_front(facts),
        **_participants(facts),
        **_outcome(facts),
        **_analysis(facts),
        **_output(facts),
        **_open_science(facts),
        **_results(facts),
        **_discussion(facts),
    }


def _front(facts: ModelFacts) -> dict[str, ItemAnswer]:
    own = facts.result
    original = f" It was compressed from {own.reference}" if facts.reference is not None else ""
    objective = (
        f"develop {facts.name} by {', '.join(facts.techniques)}, and evaluate whether it may replace {own.reference}"
        if facts.techniques
        else f"develop and evaluate {facts.name}"
    )
    methods = f"{facts.documents()}; thresholds from validation, numbers of {facts.split}, intervals by bootstrap"
    return {
        "1": stated(
            f"development and internal validation of a model for {facts.kind}", hospital="target population and outcome"
        ),
        "2": stated(
            f"objective: {objective}",
            f"methods: {methods}",
            f"results: {joined(facts.quality_lines()[:3], 'no quality was measured')}",
            f"conclusion: {joined(facts.conclusion, 'none was drawn')}",
            hospital="setting, participants and outcome",
        ),
        "3a": stated(
            f"the model answers from the text of a note.{original}",
            hospital="healthcare context, whether diagnostic or prognostic, and existing models",
        ),
        "3b": stated(hospital="target population, purpose in the care pathway, and intended users"),
        "3c": stated(hospital="known health inequalities between sociodemographic groups"),
        "4": stated(f"to {objective}; both development and (internal) validation"),
    }


def _participants(facts: ModelFacts) -> dict[str, ItemAnswer]:
    settings = facts.run.task.settings
    cut = settings.get("max_tokens")
    prepared = [f"rows of at most {cut} tokens"] if cut else []
    way = str((settings.get("long_notes") or {}).get("_target_", "")).rpartition(".")[2]
    prepared += [f"longer notes are read by {way}"] if way else []
    notices = facts.run.task.notices
    return {
        "5a": stated(
            f"one corpus for development and evaluation: {facts.corpus}; {facts.documents()}",
            hospital="source of the notes, the reason for using them, and whom they represent",
        ),
        "5b": stated(hospital="first and last date of the notes, and end of follow-up"),
        "6a": stated(hospital="setting, number and location of centres"),
        "6b": stated(
            f"left out by the software: {joined(notices, 'nothing')}", hospital="eligibility criteria of the patients"
        ),
        "6c": stated(hospital="treatments received, and how they were handled"),
        "7": stated(
            f"every note is prepared in the same way, whoever the patient is: {joined(prepared, 'tokenised')}",
            joined(notices, "no note was changed or left out"),
            hospital=f"quality checks before the notes were exported, and {_OF_GROUPS}",
        ),
    }


def _outcome(facts: ModelFacts) -> dict[str, ItemAnswer]:
    names = facts.labels
    shown = "; ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    labeler = (facts.run.task.settings.get("labeler") or {}).get("_target_", "")
    whose = f"labels were given by {labeler.rpartition('.')[2]}" if labeler else "labels came with the corpus"
    lines = facts.calibration_lines()
    size = [own for own in [facts.result.non_inferiority] if own is not None and own.detectable == own.detectable]
    power = [
        f"{own.units:,} {own.unit} can show a loss below {100 * own.detectable:.1f} points of "
        f"{cells.spelled(own.metric)} (80 % power, one-sided 2.5 %, true loss 0)"
        for own in size
    ]
    return {
        "8a": stated(
            f"{len(names)} outputs: {shown}; {whose}",
            hospital=f"definition and time horizon of the outcome, how and when it was assessed, and {_OF_GROUPS}",
        ),
        "8b": stated(hospital="who assessed the outcome, with which qualification"),
        "8c": stated(
            "training never sees the labels of test; those of validation choose the epoch and the thresholds",
            hospital="whether those who assessed the outcome were blinded",
        ),
        "9a": stated("the only predictor is the text of the note; no words were chosen beforehand"),
        "9b": stated(
            "the text of the note as the corpus has it, in tokens of the model's vocabulary",
            hospital="who writes the notes, and when relative to the outcome",
        ),
        "9c": stated(hospital="qualification of those who write the notes"),
        "10": stated(
            f"all notes of the corpus that could be used: {facts.documents()}",
            *power,
            hospital="" if power else "justification of the size of the study",
        ),
        "11": stated(
            f"notes left out, with reasons: {joined(facts.run.task.notices, 'none')}",
            hospital="notes that were missing before the export",
        ),
        "12f": stated(
            "no model was updated after its evaluation",
            *([f"a temperature was fitted for information only: {lines[-1]}"] if lines else []),
        ),
    }


def _analysis(facts: ModelFacts) -> dict[str, ItemAnswer]:
    run, own = facts.run, facts.result
    steps = [f"{row[0]} ({row[1]}, epochs: {row[3]}): {row[2]}" for row in facts.method_rows()]
    command = f"the command {shown_command(own.lineage.overrides)} builds it" if own.lineage.overrides else ""
    groups = "whole groups (patients)" if run.task.facts.get("groups") else "documents"
    repeats = f"{run.resplits} splits were compared" if run.resplits > 1 else "one split was used"
    outside = "an external corpus was evaluated (external.md)" if run.external else "no external corpus was evaluated"
    measured = ", ".join(cells.spelled(metric) for metric in facts.metrics()) or "none"
    return {
        "12a": stated(
            f"{facts.documents()}; all notes of a group are in one part; training on train, choices and thresholds on "
            f"validation, numbers of {facts.split}"
        ),
        "12b": stated("the text is split into tokens, which the network embeds; nothing else is transformed"),
        "12c": stated(
            f"{own.parameters:,} parameters; {joined(steps, 'fitted in one step')}",
            f"the epoch with the best {run.monitor} is kept; seed {run.seed}; {repeats}",
            command,
        ),
        "12d": stated(
            f"bootstrap resamples draw {groups}; {outside}",
            hospital="differences between centres, if any",
        ),
        "12e": stated(
            f"{measured}, each with a 95 % bootstrap interval, and paired differences to {own.reference}",
            "calibration (ECE, Brier score, curves), agreement of decisions, gaps between subgroups, coverage of sets; "
            "reliability, uncertainty and Pareto plots are beside this report",
            hospital="measures of clinical utility (net benefit)",
        ),
        "12g": stated(
            "predictions were stored when the model was built; clinlm predict computes the same from its folder"
        ),
    }


def _output(facts: ModelFacts) -> dict[str, ItemAnswer]:
    known, own = facts.run.task.facts, facts.result
    before, after = known.get("imbalance_before"), known.get("imbalance")
    rates = f" (most frequent label : rarest label {after:.1f} : 1)" if isinstance(after, int | float) else ""
    balanced = isinstance(before, int | float) and isinstance(after, int | float) and before != after
    used = f"classes were resampled: from {before:.1f} : 1 to {after:.1f} : 1" if balanced else f"no method{rates}"
    return {
        "13": stated(f"{used}; probabilities were not recalibrated"),
        "14": stated(
            joined(facts.gap_lines(), _NO_GROUPS if not facts.subgroup_rows() else "no gap could be compared"),
            "gates limit how far compression may widen a gap; training itself has no method of fairness",
            hospital="" if facts.subgroup_rows() else "quality in the groups that matter to the hospital",
        ),
        "15": stated(
            "a probability for every tag of every word, from which spans are decoded"
            if facts.by_word
            else "a probability for every label; a decision where it reaches the label's threshold, which was fitted "
            "on validation (serving.json); of exactly one class the most probable",
            *(["sets of labels that may apply, with a coverage fitted on validation"] if own.uncertainty else []),
            hospital="whether these thresholds suit the cost of the errors",
        ),
        "16": stated(
            "both are parts of one corpus, drawn by group, so they differ by chance only"
            + ("; the external corpus is another source" if own.drop is not None else ""),
            hospital="how the patients who will be seen differ from these",
        ),
    }


def _open_science(facts: ModelFacts) -> dict[str, ItemAnswer]:
    return {
        "17": stated(hospital="ethics committee, approval number, and consent or its waiver"),
        "18a": stated(hospital="source of funding and role of the funders"),
        "18b": stated(hospital="conflicts of interest of all authors"),
        "18c": stated(facts.margin(), hospital="where the protocol of the study is, or that there was none"),
        "18d": stated(hospital="register and number, or that the study was not registered"),
        "18e": stated(
            "" if facts.corpus.startswith("notes of") else f"the corpus is {facts.corpus}",
            hospital="who may have the notes, and under which conditions",
        ),
        "18f": stated(f"clinlm {__version__}, open source (MIT licence); the settings of the run are in run.json"),
        "19": stated(hospital="how patients and the public were involved, or that they were not"),
    }


def _results(facts: ModelFacts) -> dict[str, ItemAnswer]:
    run, own, known = facts.run, facts.result, facts.run.task.facts
    events = [f"{row['label']} {row.get('support', 0):,}" for row in own.per_label[:20]]
    labelled = known.get("documents_with_a_label")
    flow = f"; {labelled:,} have a label" if isinstance(labelled, int) else ""
    groups = [f"{row[0]} {row[1]}: {row[2]} documents" for row in facts.subgroup_rows()]
    found = [f"{row[0]} {row[1]}: {row[3]} by the original, {row[4]} by this model" for row in facts.subgroup_rows()]
    artifact = facts.own_artifact
    key = f"artifact {artifact.stage}-{artifact.key}" if artifact is not None else f"folder {own.key or own.name}"
    spread = own.splits is not None
    return {
        "20a": stated(f"{facts.documents()}{flow}", joined(run.task.notices, ""), hospital="follow-up, if any"),
        "20b": stated(
            joined(groups, "" if groups else _NO_GROUPS),
            f"{facts.split} documents by label: {joined(events, 'not counted')}",
            hospital="characteristics of the patients, dates and treatments",
        ),
        "20c": stated(
            "both are parts of one corpus; label frequencies of both are in the store (task folder)",
            hospital="comparison with the patients who will be seen",
        ),
        "21": stated(f"{facts.documents()}; {facts.split} documents by label: {joined(events, 'not counted')}"),
        "22": stated(
            f"{key}: network, weights, vocabulary and thresholds, with the sha256 of every file in record.json",
            hospital="who may use the model, under which licence",
        ),
        "23a": stated(
            joined(facts.quality_lines(), "no quality was measured"),
            joined(found, "not measured in subgroups"),
            joined(facts.calibration_lines(), "calibration was not measured for this model"),
            hospital="" if found else "quality in key subgroups",
        ),
        "23b": stated(
            "over several splits: resplits.md" if spread else "not examined: one split of one corpus",
            hospital="differences between centres",
        ),
        "24": stated("no model was updated, so there is no result of it"),
    }


def _discussion(facts: ModelFacts) -> dict[str, ItemAnswer]:
    verdict = facts.verdict()
    return {
        "25": stated(
            joined(facts.conclusion, "no conclusion was drawn"),
            f"verdict: {verdict}" if verdict else "",
            joined(facts.gap_lines(), _NO_GROUPS if not facts.subgroup_rows() else ""),
            hospital="what this means for care, and how it compares with other studies",
        ),
        "26": stated(joined(facts.limits(), "the records name none"), hospital="limitations of the data and the study"),
        "27a": stated(
            "input that cannot be read is refused with the reason; longer notes are cut or read in parts, as stated "
            "in item 7; clinlm predict with shadow= watches for drift",
            hospital="what the ward does with a note that was not answered",
        ),
        "27b": stated(
            "users give notes as files and read decisions with probabilities; nothing is to be entered by hand",
            hospital="which expertise users need, and how they are trained",
        ),
        "27c": stated(
            next((line for line in facts.conclusion if line.startswith("Next")), "validation on notes of the hospital"),
            hospital="studies that are planned",
        ),
    }
