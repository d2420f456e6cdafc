"""Laws of a sweep over labelers: every labeler and model once, on the same documents, with what it takes."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.entity_jobs import HUMAN, MARKER, config, finished_job
from support.pipelines import composed

from clinlm.labelers.llm_prices import Prices
from clinlm.metrics.economics import Economics, Machine
from clinlm.pipeline.run_record import RUN, RunRecord
from clinlm.report import labelers, published
from clinlm.report import sweep as callbacks
from clinlm.report.baselines import BASELINES, LABELER
from clinlm.report.labelers import LabelerJob, LabelerResult, labeler_name, labeler_results, open_jobs, published_rows
from clinlm.report.published import Published, side_by_side
from clinlm.report.settings import ReportSettings

pytestmark = pytest.mark.usefixtures("quick")
MARKED = {"_target_": "clinlm.labelers.union.Union", "labelers": {"marker": MARKER, "human": HUMAN}, "use": ["marker"]}
MARKED["_convert_"] = "all"
HOUR = Machine(3.6, priced_on="2026-11-01")
"""A thousandth of a unit of money a second."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, quick: None) -> list[Path]:
    """The folders of two jobs: one learned from a marker, one from people."""
    folder = tmp_path_factory.mktemp("swept")
    return [finished_job(config(folder, labeler), folder, number) for number, labeler in enumerate((MARKED, HUMAN))]


@pytest.fixture(scope="module")
def jobs(swept: list[Path]) -> list[LabelerJob]:
    return open_jobs(swept)


@pytest.fixture(scope="module")
def found(jobs: list[LabelerJob]) -> list[LabelerResult]:
    return labeler_results(jobs, ReportSettings(resamples=40, machine=HOUR))


def test_every_labeler_and_model_is_there_once_people_first(found: list[LabelerResult]) -> None:
    assert [(one.labeler, one.model) for one in found] == [
        *(("human", model) for model in (*BASELINES, "teacher")),
        *(("marker", model) for model in (LABELER, *BASELINES, "teacher")),
    ]
    assert [one.name for one in found][2:4] == ["human → teacher", "marker"]


def test_all_are_judged_by_people(jobs: list[LabelerJob], found: list[LabelerResult]) -> None:
    for line, job in zip(found, (jobs[0],) * 3 + (jobs[1],) * 4, strict=True):
        assert job.evaluate(line.own).quality()["micro_f1"] == pytest.approx(line.own.quality["micro_f1"])
        assert line.outside is not None and line.outside.drop is not None


def test_differences_are_against_the_same_model_and_against_the_labeler(found: list[LabelerResult]) -> None:
    f1 = {(one.labeler, one.model): one.own.quality["micro_f1"] for one in found}
    for one in found:
        own = f1[one.labeler, one.model]
        assert (one.against_people is None, one.against_labeler is None) == (
            one.people,
            one.people or one.model == LABELER,
        )
        if one.against_people is not None:
            other = "teacher" if one.model == LABELER else one.model
            assert one.against_people.value == pytest.approx(own - f1["human", other])
        if one.against_labeler is not None:
            assert one.against_labeler.value == pytest.approx(own - f1["marker", LABELER])


def test_what_a_thousand_notes_take(found: list[LabelerResult]) -> None:
    """The marker says that every note took it 0.5 s, 2 and 1 tokens."""
    labeler, *_, teacher = (one.own.economics for one in found[3:])
    assert labeler is not None and teacher is not None and found[-1].own.latency is not None
    assert (labeler.seconds, labeler.prompt_tokens, labeler.completion_tokens) == (500, 2000, 1000)
    assert labeler.money == pytest.approx(0.5) and labeler.priced_on == "2026-11-01"
    assert teacher.seconds == pytest.approx(found[-1].own.latency.mean_ms)
    assert teacher.money == pytest.approx(teacher.seconds / 1000)


class Costed:
    """A labeler that has prices, or stands elsewhere, or combines others."""

    def __init__(self, prices: Prices | None, remote: str = "", parts: tuple[Any, ...] = ()) -> None:
        self.prices, self.remote, self.parts = prices, remote, parts

    def fingerprint(self) -> str:
        return str(id(self))


def job(labeler: Costed, notes: int = 10, tokens: int = 1000) -> Any:
    facts = {"labeler_notes": notes, "labeler_failed": 1, "labeler_seconds": 20.0}
    facts |= {"labeler_prompt_tokens": tokens, "labeler_completion_tokens": 0}
    return type("J", (), {"task": type("T", (), {"labeler": labeler, "examples": type("E", (), {"facts": facts})})})


def test_several_labelers_take_what_each_takes_alone() -> None:
    dear = Costed(Prices(10.0, priced_on="2026-01-01"), "elsewhere")
    cheap = Costed(Prices(1.0, priced_on="2026-02-01"), "elsewhere")
    here = Costed(None)
    every = Costed(None, parts=(dear, cheap, here))
    takes = labelers._labeler_cost
    alone = [job(dear), job(cheap, tokens=500), job(here, tokens=0)]
    found = takes(job(every), [*alone, job(every)], HOUR)
    assert found is not None and found.seconds == 6000 and found.priced_on == "2026-01-01" and found.failed == 1
    # 1,000 notes: 100,000 tokens at 10 and 50,000 at 1 per million, and 2,000 s of this machine.
    assert found.money == pytest.approx(1.0 + 0.05 + 2.0)
    assert takes(job(every), [alone[0], job(every)], HOUR) is None
    both = Costed(None, parts=(dear, Costed(dear.prices, "elsewhere")))
    counted = takes(job(both), [job(both)], HOUR)
    assert counted is not None and counted.money == pytest.approx(1.0)


def test_the_table_is_written_without_a_note(
    swept: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelers.report_labelers(swept, tmp_path)
    text, shown = (tmp_path / "labelers.md").read_text(), capsys.readouterr().out
    for heading in ("Against people", "External", "Cost of 1,000 notes"):
        assert heading in text
    for name in ("human → teacher", "marker → teacher", "marker → TF-IDF", "marker → TF-IDF int8"):
        assert text.count(f"| {name} |") == 3 and name in shown
    assert "the patient was seen" not in text + shown
    assert text.startswith("**strict F1 against the same model learned from people is ")
    header, _, first = (line.split("|") for line in text.partition("\n\n")[2].splitlines()[2:5])
    told = dict(zip(map(str.strip, header), map(str.strip, first), strict=True))
    expected = labeler_results(open_jobs(swept), ReportSettings(resamples=40))[0].own
    shares = {"strict P %": "micro_precision", "strict R %": "micro_recall", "strict F1 %": "micro_f1"}
    for column, name in (shares | {"macro F1 %": "macro_f1", "relaxed F1 %": "relaxed_micro_f1"}).items():
        assert told[column].startswith(f"{100 * expected.quality[name]:.2f} ("), column
    assert len(json.loads((tmp_path / "labelers.json").read_text(), parse_constant=pytest.fail)["lines"]) == 7
    assert (tmp_path / "labelers.png").stat().st_size > 0


def test_the_callback_tells_of_the_jobs_that_finished(
    swept: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = swept[0].parent
    (folder / "7" / ".hydra").mkdir(parents=True, exist_ok=True)
    (folder / "7" / ".hydra" / "overrides.yaml").touch()
    seen: list[Any] = []
    monkeypatch.setattr(labelers, "report_labelers", lambda *told: seen.append(told))
    with caplog.at_level(logging.WARNING):
        callbacks.LabelersTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))
    assert seen == [(swept, folder)] and "did not finish: 7" in caplog.text


def test_jobs_with_other_test_documents_are_not_compared(swept: list[Path], tmp_path: Path) -> None:
    record = RunRecord.read(swept[1])
    task = replace(record.task, settings={**record.task.settings, "seed": 5})
    (tmp_path / "9").mkdir()
    for name in ("table.json", "entities.json", "external.json"):
        (tmp_path / "9" / name).write_bytes((swept[1] / name).read_bytes())
    replace(record, task=task).write(tmp_path / "9")
    with pytest.raises(ValueError, match=r"the same test documents.*jobs \w+ and \w+ differ"):
        open_jobs([*swept, tmp_path / "9"])
    (tmp_path / "9" / "entities.json").unlink()
    with pytest.raises(ValueError, match="job 9 has another kind of task"):
        open_jobs([tmp_path / "9"])


def test_labelers_are_called_by_what_they_are() -> None:
    ontology = {"_target_": "clinlm.labelers.ontology.Ontology"}
    union = {"_target_": "clinlm.labelers.union.Union", "labelers": {"human": HUMAN, "mine": ontology}}
    assert labeler_name(ontology) == "ontology" and labeler_name(union) == "union(human+mine)"
    assert (
        labeler_name(union | {"use": ["mine"]}) == "mine" and labeler_name(union | {"use": None}) == "union(human+mine)"
    )


def test_ours_stand_below_the_published_rows(found: list[LabelerResult]) -> None:
    paper = Published.named("labelers")
    rows = published_rows(found)
    assert [*rows] == ["labeler", "people", "distilled", "distilled, external"] and paper.has(rows)
    assert set(rows) <= set(paper.rows), "a row of ours stands below the paper's"
    distilled = rows["distilled"]["marker → teacher"]
    assert distilled.quality["disease_f1"] == found[-1].own.label_estimates("f1")["DISEASE"].value
    _, text = side_by_side(rows, paper)
    line = next(one for one in text.splitlines() if one.startswith("| distilled | marker"))
    numbers = [cell.strip(" ?") for cell in line.split("|")]  # a busy machine marks them
    assert found[3].own.economics is not None and found[-1].own.economics is not None
    assert float(numbers[6]) == pytest.approx(
        found[3].own.economics.seconds / found[-1].own.economics.seconds, rel=0.01
    )
    assert float(numbers[7]) == pytest.approx(found[3].own.economics.money / found[-1].own.economics.money, rel=0.01)


def test_without_a_price_nothing_is_cheaper(found: list[LabelerResult]) -> None:
    row = published_rows(found)["distilled"]["marker → teacher"]
    assert published._cheaper(replace(row, economics=Economics(1, 0, 1.0, 0.0))) is None


def test_the_published_ratios_are_of_three_labelers() -> None:
    rows = Published.named("labelers").rows
    assert [rows[f"distilled against {name}"][3:] for name in ("GPT-4o", "o1-mini", "Gemini Flash")] == [
        (12, 85),
        (4, 101),
        (8, 2),
    ]
    assert rows["distilled"][:3] == (87, 84, 68) and math.isnan(rows["people"][2])


@pytest.mark.parametrize(("sweep", "choices"), [("labelers", 2), ("labelers_llm", 4)])
def test_a_sweep_chooses_labelers_and_has_its_table(sweep: str, choices: int, notes_csv: Path, tmp_path: Path) -> None:
    from hydra.core.hydra_config import HydraConfig

    composed(notes_csv, tmp_path / "store", f"+sweep={sweep}", "task=table")
    settings = HydraConfig.get()
    params = settings.sweeper.params
    (override,) = OverridesParser.create().parse_overrides([f"labeler.use={params['labeler.use']}"])
    assert override.is_choice_sweep() and len(list(override.sweep_string_iterator())) == choices
    assert settings.callbacks.sweep_table.callback == f"{callbacks.__name__}.LabelersTable"
    assert callbacks.RUN == RUN
