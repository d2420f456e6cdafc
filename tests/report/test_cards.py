"""Cards: every item is answered or marked, metadata are the hub's, nothing of notes or of the machine gets in."""

import io
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from support.families import filled
from support.pipelines import kept
from support.reports import result

from clinlm.config.errors import ModelError
from clinlm.engines.hugging_face import CODE, write_hub_folder
from clinlm.metrics.bootstrap import Interval
from clinlm.models.model import Model, PoolingName
from clinlm.pipeline.run_record import RunRecord, TaskRecord
from clinlm.report.cards.base_models import LICENCES, licences
from clinlm.report.cards.chai import ELEMENTS, NAMESPACE, chai_card, check_chai
from clinlm.report.cards.clinical import ClinicalReport
from clinlm.report.cards.facts import ModelFacts
from clinlm.report.cards.item_answer import HOSPITAL, ItemAnswer
from clinlm.report.cards.model_card import model_card
from clinlm.report.cards.privacy import HIDDEN, is_hub_name, shown_overrides, without_paths
from clinlm.report.cards.tripod_items import TRIPOD_ITEMS
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import Head

PLACE = "/home/somebody/secret/notes.csv"
LABEL = "<script>alert(1)</script>"


def facts(measured: bool = True) -> ModelFacts:
    """A model of a run whose records hold as much, or as little, as they can."""
    quality = {"micro_f1": 0.8, "macro_f1": math.nan} if measured else {}
    intervals = {"micro_f1": Interval(0.8, 0.7, 0.9)} if measured else {}
    own = replace(
        result("student"),
        quality=quality,
        intervals=intervals,
        reference="teacher" if measured else "",
        differences={"micro_f1": Interval(-0.01, -0.02, 0.0)} if measured else {},
        per_label=({"label": LABEL, "support": 3, "f1": 0.5},) if measured else (),
        notices=(f"read from {PLACE}",),
    )
    own = replace(own, lineage=replace(own.lineage, overrides=(f"task.root={PLACE}", "pipeline=c", f"store={PLACE}")))
    settings = {"_target_": "clinlm.tasks.multilabel.MultiLabel", "root": PLACE, "corpus": {"_target_": "x.Table"}}
    known = {"documents": 9, "train": 5, "validation": 2, "test": 2} if measured else {}
    task = TaskRecord("key", settings, known, (f"2 notes of {PLACE} dropped",) if measured else ())
    run = RunRecord("c", 0, (), PLACE, "val/macro_f1", task, (), {}, None, (), {}, None)
    validation = None
    if measured:
        share = {"value": 0.5, "low": 0.4, "high": None}
        group = {"name": "F", "documents": 2, "original": share, "compressed": share}
        validation = {
            "fairness": {"gender": {"metric": "macro_f1", "subgroups": [group], "difference": share}},
            "agreement": dict.fromkeys(("cells", "documents", "kappa"), share),
            "calibration": {"student": {"ece": share, "brier": share}},
            "calibration_change": {"ece": share},
        }
    return ModelFacts(own, (result("teacher"), own), run, validation, (), ("Next: confirm.",) if measured else ())


@pytest.mark.parametrize("measured", [True, False])
def test_no_item_is_silently_empty(measured: bool) -> None:
    report = ClinicalReport.of(facts(measured))
    assert {*report.tripod} == {item.number for item in TRIPOD_ITEMS}
    for name, own in report.statements.items():
        assert own.text.strip() and (HOSPITAL in own.text) == bool(own.hospital), name
    assert sum(report.counts().values()) == len(report.statements)
    with pytest.raises(ValueError, match="must hold something"):
        ItemAnswer(("",))


def test_tripod_has_27_items_in_52_parts() -> None:
    assert [int(item.number.rstrip("abcdefg")) for item in TRIPOD_ITEMS] == sorted(
        int(item.number.rstrip("abcdefg")) for item in TRIPOD_ITEMS
    )
    assert {int(item.number.rstrip("abcdefg")) for item in TRIPOD_ITEMS} == {*range(1, 28)}
    assert len({item.number for item in TRIPOD_ITEMS}) == len(TRIPOD_ITEMS) == 52


@pytest.mark.parametrize("measured", [True, False])
def test_the_xml_has_the_published_elements_in_order_and_no_empty_one(measured: bool) -> None:
    root = ElementTree.parse(io.StringIO(chai_card(facts(measured)))).getroot()

    def name(element: ElementTree.Element) -> str:
        return element.tag.removeprefix(f"{{{NAMESPACE}}}")

    for element in root.iter():
        if name(element) in ELEMENTS:
            assert tuple(map(name, element)) == ELEMENTS[name(element)]
        elif name(element) in ("Keywords", "Results"):
            assert len(element) > 0
        else:
            assert len(element) > 0 or (element.text or "").strip(), name(element)


def test_the_xml_is_validated_by_a_schema(tmp_path: Path) -> None:
    pytest.importorskip("xmlschema")
    opened = "".join(f'<xs:element name="{child}"/>' for child in ELEMENTS["AppliedModelCard"])
    text = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:ds="http://d" targetNamespace="{NAMESPACE}"
 elementFormDefault="qualified"><xs:import namespace="http://d" schemaLocation="http://nowhere.invalid/d.xsd" />
 <xs:element name="AppliedModelCard"><xs:complexType><xs:sequence>{opened}
 <xs:element ref="ds:Signature" minOccurs="0" /></xs:sequence></xs:complexType></xs:element></xs:schema>"""
    (tmp_path / "schema.xsd").write_text(text)
    check_chai(chai_card(facts()), tmp_path / "schema.xsd")
    with pytest.raises(ModelError, match=r"must follow schema\.xsd"):
        check_chai(chai_card(facts()).replace("Bibliography", "Literature"), tmp_path / "schema.xsd")


@pytest.mark.parametrize("measured", [True, False])
def test_cards_hold_no_path_and_no_html(measured: bool) -> None:
    own = facts(measured)
    report = ClinicalReport.of(own)
    for text in (model_card(own), report.markdown(own), str(report.to_json(own)), chai_card(own)):
        assert "somebody" not in text and "secret" not in text
    assert "<script" not in model_card(own) + report.markdown(own) + chai_card(own)


def test_the_hub_reads_the_metadata() -> None:
    card = ModelCard(model_card(facts()))
    (entry,) = card.data.eval_results or []
    assert entry.metric_type == "f1" and entry.metric_value == 0.8 and "70.0–90.0" in entry.metric_name
    assert card.data.license == "other" and card.data.pipeline_tag == "text-classification"
    assert ModelCard(model_card(facts(False))).data.eval_results is None


def test_licences_are_those_of_the_presets() -> None:
    found = {licence for licence in licences().values() if licence}
    assert found and found <= {*LICENCES} and licences()["sentence-transformers/all-MiniLM-L6-v2"] == "Apache-2.0"


@settings(max_examples=25)
@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=2, max_size=4))
def test_paths_are_hidden_and_words_are_not(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert without_paths(f"in {path}, and") == f"in {HIDDEN}, and" and not is_hub_name(path)
    assert without_paths("5 mg/dL a/day and https://doi.org/10.1/x") == "5 mg/dL a/day and https://doi.org/10.1/x"
    assert shown_overrides([f"task.root={path}", "store=x", "epochs=2", "teacher.name=a/b"]) == [
        f"task.root={HIDDEN}",
        "epochs=2",
        "teacher.name=a/b",
    ]


@pytest.mark.parametrize("pooling", get_args(PoolingName))
def test_transformers_opens_every_pooling(task: Task, tiny_model: Model, tmp_path: Path, pooling: PoolingName) -> None:
    spec = replace(tiny_model.spec, pooling=pooling)
    model = Model(spec, filled(spec.build()), tiny_model.tokenizer)
    folder, labels = kept(model, tmp_path / "artifact").folder, task.examples.labels
    InferenceConfig("multilabel", labels, np.full(len(labels), 0.5), 32, Head()).save(folder)
    assert write_hub_folder(folder, tmp_path / "hf").difference < 1e-5


def test_transformers_opens_what_the_artifact_answers(task: Task, tiny_model: Model, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    artifact = kept(tiny_model, tmp_path / "artifact")
    labels = task.examples.labels
    InferenceConfig("multilabel", labels, np.full(len(labels), 0.5), 32, Head()).save(artifact.folder)
    written = write_hub_folder(artifact.folder, tmp_path / "hf")
    assert written.code and written.difference < 1e-5 and (tmp_path / "hf" / CODE).is_file()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "hf")(["wheeze and fever"], return_tensors="pt")
    body = AutoModel.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        theirs = body(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
        ours = tiny_model.network.eval().body(tokens["input_ids"], attention_mask=tokens["attention_mask"])
    assert torch.allclose(theirs, ours.last_hidden_state, atol=1e-5)
