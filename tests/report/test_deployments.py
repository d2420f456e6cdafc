"""Models on engines: the fastest is kept, losers are told, refusals too; a deployed row is measured like any other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from support.pipelines import composed
from support.reports import recorded

from clinlm.engines.auto import Auto
from clinlm.engines.base import find_engine
from clinlm.engines.deployment import Deployment
from clinlm.engines.torch import Torch
from clinlm.metrics.classification import quality
from clinlm.metrics.latency import Latency
from clinlm.predict.model_answerer import predict_file
from clinlm.predict.settings import PredictSettings
from clinlm.report.deployments import Exports, exports, fastest
from clinlm.report.evaluation import evaluate
from clinlm.report.settings import ReportSettings
from clinlm.report.tables import results_frame
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig

HERE = Deployment(Path("/nowhere"))
TIME = Latency(1.0, 1.0, 1.0, 1.0, 3, 1.0, 1.0, 1.0)


def at(p50_ms: float) -> Latency:
    return replace(TIME, p50_ms=p50_ms)


def test_the_fastest_is_kept_and_the_others_are_told() -> None:
    exported: Exports = {"m": {"slow": HERE, "quick": HERE, "wrong": "it differs"}, "n": {"x": HERE}}
    times = {"m": at(9), "m @slow": at(4), "m @quick": at(2), "n": at(1), "n @x": at(3)}
    kept, told = fastest(exported, times)
    assert kept == {"m @quick", "n @x"}  # asked for alone, n's engine is kept though eager torch is faster
    assert told == [
        "engines for m, p50: quick 2.00 ms (kept), slow 4.00 ms, torch (eager) 9.00 ms, wrong refused: it differs"
    ]


def test_on_a_busy_machine_processor_time_decides_and_the_load_is_told() -> None:
    exported: Exports = {"m": {"lucky": HERE, "cheap": HERE}}
    latencies = {"m": (9, 8), "m @lucky": (2, 5), "m @cheap": (4, 3)}
    for busy, kept, start in (
        (0.02, "lucky", "p50 (other processes used 2%"),
        (0.83, "cheap", "processor time (other"),
    ):
        times = {n: replace(TIME, p50_ms=w, processor_ms=p, busy=busy) for n, (w, p) in latencies.items()}
        found, (line,) = fastest(exported, times)
        assert found == {f"m @{kept}"} and line.startswith(f"engines for m, {start}") and f"{kept} " in line


def test_a_model_that_every_engine_refuses_keeps_its_artifact_only() -> None:
    kept, told = fastest({"m": {"a": "no", "b": "no"}}, {"m": at(9)})
    assert kept == set() and "a refused: no" in told[0] and "b refused: no" in told[0]


def test_all_engines_that_are_installed_bid() -> None:
    tried = [one.name for one in Auto().candidates()]
    assert tried and Torch.name not in tried and all(not find_engine(name).missing() for name in tried)
    assert [one.name for one in Auto(engines=["torch"]).candidates()] == ["torch"]
    with pytest.raises(ValueError, match="engine must be one of"):
        Auto(engines=["tensorrt"])


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Torch()
    monkeypatch.setattr(Torch, "missing", lambda self: "a package")
    with pytest.raises(ImportError, match="engine=torch needs a package; install it"):
        exports({"m": HERE}, engine, None, Path())  # type: ignore[dict-item,arg-type]


def test_an_engine_that_is_not_installed_is_named_before_anything_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torch, "missing", lambda self: "a package")
    with pytest.raises(ImportError, match="engine=torch needs a package"):
        ReportSettings(engine=Torch())
    with pytest.raises(ImportError, match="needs at least one of torch, none is installed"):
        Auto(engines=["torch"])


def test_names_of_engines_are_a_list() -> None:
    with pytest.raises(ValueError, match=r"write engine\.engines=\[onnxruntime\]"):
        Auto(engines="onnxruntime")


def test_an_engine_that_breaks_loses_the_auction_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Exception):
        """As ONNX Runtime's: no RuntimeError."""

    def breaks(*rest: object) -> Deployment:
        raise Own("no kernel\nwhere: there")

    monkeypatch.setattr("clinlm.engines.export.deploy", breaks)
    models = {"m": HERE}
    found = exports(models, Auto(engines=["torch"]), None, Path())  # type: ignore[arg-type]
    assert found == {"m": {"torch": "Own: no kernel"}}
    assert fastest(found, {"m": at(9)}) == (
        set(),
        ["engines for m, p50: torch (eager) 9.00 ms, torch refused: Own: no kernel"],
    )
    with pytest.raises(Own):
        exports(models, Torch(), None, Path())  # type: ignore[arg-type]


def recomputed(task: Task, folder: Path, scratch: Path) -> dict[str, float]:
    """Return the quality of what `clinlm predict` answers for the test documents, by scikit-learn."""
    notes, answers = scratch / "test.jsonl", scratch / f"{folder.name}.jsonl"
    notes.write_text("".join(json.dumps({"text": text}) + "\n" for text in task.texts("test")))
    predict_file(PredictSettings.of([f"artifact={folder}", f"input={notes}", f"output={answers}", "threads=1"]))
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    labels, truth = task.examples.labels, task.examples.targets[task.examples.members("test")]
    decided = np.array([[label in row["labels"] for label in labels] for row in rows])
    scores = np.array([[row["probabilities"][label] for label in labels] for row in rows])
    found = {"accuracy": float((truth == decided).mean()), "subset_accuracy": metrics.accuracy_score(truth, decided)}
    for average in ("micro", "macro", "weighted"):
        how = {"average": average, "zero_division": 0}
        found[f"{average}_precision"] = metrics.precision_score(truth, decided, **how)
        found[f"{average}_recall"] = metrics.recall_score(truth, decided, **how)
        found[f"{average}_f1"] = metrics.f1_score(truth, decided, **how)
    for average in ("micro", "macro"):
        found[f"{average}_auroc"] = metrics.roc_auc_score(truth, scores, average=average)
        found[f"{average}_auprc"] = metrics.average_precision_score(truth, scores, average=average)
    return found


@pytest.mark.usefixtures("quick")
def test_a_deployed_row_stands_below_its_artifact(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))
    overrides = ("pipeline=quantization", "quantize=dynamic", "epochs=1", "task.calibrate=temperature")
    config = composed(notes_csv, tmp_path / "store", *overrides)
    run, task = recorded(config, resamples=20, latency_documents=2, engine={"_target_": "clinlm.engines.torch.Torch"})
    rows, _ = evaluate([run], task, stages=True)
    assert [row.name for row in rows][2:] == ["teacher", "teacher @torch", "quantize", "quantize @torch"]
    by_name = {row.name: row for row in rows}
    for name in ("teacher", "quantize"):
        plain, deployed = by_name[name], by_name[f"{name} @torch"]
        assert deployed.quality == pytest.approx(plain.quality, abs=1e-6) and deployed.key == plain.key
        for row, folder in ((plain, plain.lineage.folder), (deployed, deployed.deployment["folder"])):
            assert row.quality == pytest.approx(recomputed(task, Path(folder), tmp_path), abs=1e-5)
        assert deployed.deployment["of"] == name and deployed.deployment["process_mib"] == 2.0
        assert deployed.engine == "torch" and not plain.deployment and deployed.latency is not None
        assert plain.per_label and deployed.per_label and plain.gates == () or not deployed.gates
    assert by_name["quantize @torch"].bytes < by_name["teacher @torch"].bytes
    assert by_name["teacher @torch"].differences and not by_name["teacher"].differences
    assert results_frame(rows)["engine"].to_list() == ["torch"] * 6

    answers = Deployment.predictions
    monkeypatch.setattr(Deployment, "predictions", lambda own, split: answers(own, split) + 0.7)
    shifted = next(row for row in evaluate([run], task, stages=True)[0] if row.name == "quantize @torch")
    folder = Path(shifted.deployment["folder"])
    config, truth = InferenceConfig.load(folder), task.examples.targets[task.examples.members("test")]
    shipped = quality(truth, config.probabilities(Deployment(folder).predictions("test")), config.thresholds)
    assert shifted.quality == pytest.approx(shipped), "an engine that answers otherwise keeps the shipped thresholds"
    assert shifted.quality != pytest.approx(by_name["quantize @torch"].quality)
