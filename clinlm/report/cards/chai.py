"""The applied model card of the Coalition for Health AI (CHAI) as XML, of version 0.2 of its schema.

Source: https://mc.chai.org/v0.2/schema.xsd, repository coalition-for-health-ai/mc-schema, a draft that its authors may
change. `ELEMENTS` lists what it asks for; the schema itself is not part of this package: `clinlm report clinical
schema=FILE` validates by it. Between its editions the optional element for EHR systems was renamed, so it is left out.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clinlm import __version__
from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.extras import imported
from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells
from clinlm.report.cards.base_models import base_models
from clinlm.report.cards.facts import ModelFacts
from clinlm.report.cards.item_answer import HOSPITAL, ItemAnswer, as_named, joined, stated

NAMESPACE: Final = "https://mc.chai.org/v0.2/schema.xsd"
_SIGNATURE: Final = re.compile(r'<\w+:import\b[^>]*/>|<\w+:element ref="ds:[^>]*/>')
"""The parts of the schema that need another schema."""
_METRIC_TEXTS: Final = (
    *("MetricGoal", "Results", "Interpretation", "TestType", "TestingDataDescription"),
    "ValidationProcessAndJustification",
)
ELEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "AppliedModelCard": (
        *("BasicInfo", "ReleaseInfo", "ModelSummary", "UsesAndDirections", "Warnings", "TrustIngredients"),
        *("KeyMetrics", "Resources", "Bibliography"),
    ),
    "BasicInfo": ("ModelName", "ModelDeveloper", "DeveloperContact"),
    "ReleaseInfo": ("ReleaseStage", "ReleaseDate", "ReleaseVersion", "GlobalAvailability", "RegulatoryApproval"),
    "ModelSummary": ("Summary", "Keywords"),
    "UsesAndDirections": (
        *("IntendedUseAndWorkflow", "PrimaryIntendedUsers", "HowToUse", "TargetedPatientPopulation"),
        "CautionedOutOfScopeSettings",
    ),
    "Warnings": ("KnownRisksAndLimitations", "KnownBiasesOrEthicalConsiderations", "ClinicalRiskLevel"),
    "TrustIngredients": ("AISystemFacts", "TransparencyInformation"),
    "AISystemFacts": (
        *("OutcomesAndOutputs", "ModelType", "FoundationModels", "InputDataSource", "OutputAndInputDataTypes"),
        *("DevelopmentDataCharacterization", "BiasMitigationApproaches", "OngoingMaintenance", "Security"),
        "Transparency",
    ),
    "TransparencyInformation": ("FundingSource", "ThirdPartyInformation", "StakeholdersConsulted"),
    "KeyMetrics": ("UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability"),
    "UsefulnessUsabilityEfficacy": _METRIC_TEXTS,
    "FairnessEquity": _METRIC_TEXTS,
    "SafetyReliability": _METRIC_TEXTS,
    "Resources": (
        *("EvaluationReferences", "ClinicalTrial", "PeerReviewedPublications", "ReimbursementStatus"),
        "PatientConsentOrDisclosure",
    ),
}
"""Element -> its children, in order. Elements that are not named here hold text, Keywords and Results lists."""

Metrics = Mapping[str, Mapping[str, Interval]]
"""Element of KeyMetrics -> label -> share of 1 with its interval."""


def chai_card(facts: ModelFacts) -> str:
    """Return the card as XML."""
    ElementTree.register_namespace("", NAMESPACE)
    statements = chai_statements(facts)
    root = _element("AppliedModelCard", statements, _metrics(facts), [*facts.techniques, "clinical notes", facts.kind])
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def check_chai(card: str, schema: Path) -> None:
    """Validate a card by the published schema, a file.

    The optional signature is left out of the schema, since its own schema would be fetched from the network.

    Raises:
        MissingExtraError: xmlschema is not installed.
        ConfigError: `schema` is no such file.
        ModelError: the card breaks the schema.
    """
    if not schema.is_file():
        raise ConfigError(f"schema= must be the file {NAMESPACE} on this machine, got {schema}")
    xmlschema = imported("xmlschema", "clinical")
    known = xmlschema.XMLSchema(_SIGNATURE.sub("", schema.read_text(encoding="utf-8")))
    try:
        known.validate(card)
    except xmlschema.XMLSchemaValidationError as error:
        raise ModelError(f"the card must follow {schema.name}: {error.reason} at {error.path}") from error


def chai_statements(facts: ModelFacts) -> Mapping[str, ItemAnswer]:
    """Return element with text -> its statement."""
    return {**_release(facts), **_uses(facts), **_system(facts), **_tests(facts)}


def _element(
    name: str, statements: Mapping[str, ItemAnswer], metrics: Metrics, keywords: list[str], inside: str = ""
) -> ElementTree.Element:
    element = ElementTree.Element(f"{{{NAMESPACE}}}{name}")
    if name == "Keywords":
        for keyword in keywords:
            ElementTree.SubElement(element, f"{{{NAMESPACE}}}Keyword").text = keyword
    elif name == "Results":
        for label, own in metrics[inside].items():
            result = ElementTree.SubElement(element, f"{{{NAMESPACE}}}MetricResult")
            ElementTree.SubElement(result, f"{{{NAMESPACE}}}Label").text = label
            ElementTree.SubElement(result, f"{{{NAMESPACE}}}ValueJson").text = json.dumps(_value(own))
    elif name in ELEMENTS:
        for child in ELEMENTS[name]:
            element.append(_element(child, statements, metrics, keywords, name))
    else:
        known = statements.get(f"{inside}.{name}") or statements[name]
        element.text = known.text
    return element


def _value(own: Interval) -> dict[str, Any]:
    """Return a number as the examples of CHAI write it; per cent."""
    if own.value != own.value:
        return {"kind": "single", "value": None, "unit": "%"}
    value = round(100 * own.value, 2)
    if own.low != own.low or own.high != own.high:
        return {"kind": "single", "value": value, "unit": "%"}
    ends = {"lower": round(100 * own.low, 2), "upper": round(100 * own.high, 2)}
    return {"kind": "estimate_ci", "estimate": value, **ends, "level": 95, "unit": "%"}


def _release(facts: ModelFacts) -> dict[str, ItemAnswer]:
    artifact = facts.own_artifact
    return {
        "ModelName": as_named(facts.name),
        "ModelDeveloper": stated(hospital="who developed and answers for the model"),
        "DeveloperContact": stated(hospital="a contact"),
        "ReleaseStage": stated("built and evaluated, not released", hospital="stage of the release"),
        "ReleaseDate": stated(hospital="date of the release"),
        "ReleaseVersion": as_named(
            f"clinlm {__version__}, {f'{artifact.stage}-{artifact.key}' if artifact else facts.result.name}"
        ),
        "GlobalAvailability": stated(hospital="where the model may be used"),
        "RegulatoryApproval": stated("none is known to the software", hospital="approvals, if there are any"),
        "Summary": stated(f"a model for {facts.kind}", facts.verdict(), joined(facts.quality_lines()[:2], "")),
        "Bibliography": as_named("% none: the records of the run name no publication"),
    }


def _uses(facts: ModelFacts) -> dict[str, ItemAnswer]:
    limits = joined(facts.limits(), "the records name none")
    return {
        "IntendedUseAndWorkflow": stated(hospital="intended use, and the place of the model in the work of the ward"),
        "PrimaryIntendedUsers": stated(hospital="intended users and the expertise that they need"),
        "HowToUse": stated(
            "clinlm predict artifact=FOLDER input=FILE output=FILE answers every note of a file with decisions and "
            "probabilities",
            hospital="what users do with the answers",
        ),
        "TargetedPatientPopulation": stated(hospital="patients whom the model is meant for"),
        "CautionedOutOfScopeSettings": stated(
            "notes unlike those of the corpus: other languages, other kinds of notes, other sites",
            hospital="settings where it must not be used",
        ),
        "KnownRisksAndLimitations": stated(limits, hospital="risks to patients when the model is wrong"),
        "KnownBiasesOrEthicalConsiderations": stated(
            joined(facts.gap_lines(), "no gap between subgroups was measured"), hospital="ethical considerations"
        ),
        "ClinicalRiskLevel": stated(
            joined([f"gate {line}" for line in facts.gate_lines()], ""), hospital="the level of clinical risk"
        ),
    }


def _system(facts: ModelFacts) -> dict[str, ItemAnswer]:
    bases = base_models([artifact for _, artifact in facts.stages], facts.own_artifact)
    names = facts.labels
    shown = "; ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    subgroups = facts.gap_lines()
    return {
        "OutcomesAndOutputs": stated(f"{len(names)} labels: {shown}; probability and decision for each"),
        "ModelType": stated(
            f"{facts.kind}; {facts.result.parameters:,} parameters",
            joined(facts.techniques, "not compressed"),
            *facts.cost_lines()[:1],
        ),
        "FoundationModels": stated(joined([base.line() for base in bases], "none: networks began with random weights")),
        "InputDataSource": stated(facts.corpus, hospital="the system that the notes come from"),
        "OutputAndInputDataTypes": stated(
            "input: the text of a note (unstructured); output: decisions and probabilities (structured)"
        ),
        "DevelopmentDataCharacterization": stated(
            facts.documents(), joined(facts.run.task.notices, ""), hospital="dates, sites and demographics of the data"
        ),
        "BiasMitigationApproaches": stated(
            "gates limit how far compression may widen a gap between subgroups",
            joined(subgroups, "no gap was measured"),
            hospital="further approaches to bias",
        ),
        "OngoingMaintenance": stated(
            "clinlm predict with shadow= compares two models on live notes and watches for drift",
            hospital="who watches the model, and when it is trained again",
        ),
        "Security": stated(
            "files are safetensors, JSON and ONNX or OpenVINO; nothing is unpickled, no note leaves the machine",
            hospital="protection of the machine and the notes",
        ),
        "Transparency": stated("settings, data fingerprints and sha256 of every file are in record.json and run.json"),
        "FundingSource": stated(hospital="source of funding"),
        "ThirdPartyInformation": stated(
            joined([base.line() for base in bases if base.name], "no weights of third parties")
        ),
        "StakeholdersConsulted": stated(hospital="who was consulted"),
        "EvaluationReferences": stated("the tables, plots and validation of the run, beside this file"),
        "ClinicalTrial": stated(hospital="a clinical trial, if there was one"),
        "PeerReviewedPublications": stated(hospital="publications about this model, if there are any"),
        "ReimbursementStatus": stated(hospital="status of reimbursement"),
        "PatientConsentOrDisclosure": stated(hospital="how patients are told, and whether they consent"),
    }


def _tests(facts: ModelFacts) -> dict[str, ItemAnswer]:
    own = facts.result
    common = {
        "TestType": stated("retrospective, on one corpus, paired with the original on the same documents"),
        "TestingDataDescription": stated(
            f"{facts.split} documents of {facts.documents()}", hospital="whom these documents represent"
        ),
        "ValidationProcessAndJustification": stated(
            "thresholds and choices come from validation; intervals are 95 %, by bootstrap over groups of patients",
            facts.verdict(),
            hospital="validation on notes of the hospital",
        ),
    }
    gaps = facts.gap_lines()
    return {
        **common,
        "UsefulnessUsabilityEfficacy.MetricGoal": stated(
            f"lose less to {own.reference} than the margin" if facts.reference else "find the labels of a note",
            hospital="the quality that the use asks for",
        ),
        "UsefulnessUsabilityEfficacy.Interpretation": stated(joined(facts.conclusion, "no conclusion was drawn")),
        "FairnessEquity.MetricGoal": stated(
            "compression does not widen gaps between subgroups", hospital="the groups that matter"
        ),
        "FairnessEquity.Interpretation": stated(
            joined(gaps, ""), hospital="" if gaps else "quality in subgroups: the run had no attributes of patients"
        ),
        "SafetyReliability.MetricGoal": stated(
            "probabilities are calibrated, and sets of labels hold the truth as often as they promise",
            hospital="which errors harm, and how often they may happen",
        ),
        "SafetyReliability.Interpretation": stated(
            joined([*facts.calibration_lines(), *facts.uncertainty_lines(), *facts.agreement_lines()], ""),
            hospital="what the errors mean for patients",
        ),
    }


def _metrics(facts: ModelFacts) -> Metrics:
    """Return the numbers of KeyMetrics; one without a value, to be stated, where nothing was measured."""
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    useful = {cells.spelled(metric): own for metric, own in facts.estimates().items()}
    groups, safety = dict(facts.subgroup_estimates()), facts.safety_estimates()
    return {
        "UsefulnessUsabilityEfficacy": useful or {HOSPITAL: nothing},
        "FairnessEquity": groups or {HOSPITAL: nothing},
        "SafetyReliability": safety or {HOSPITAL: nothing},
    }
