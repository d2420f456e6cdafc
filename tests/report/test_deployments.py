"""Models on engines: the fastest is kept, losers are told, refusals too; a deployed row is measured like any other."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.pipelines import composed, finished

from clinlm.engines.auto import Auto
from clinlm.engines.base import find_engine
from clinlm.engines.export import Deployment
from clinlm.engines.torch import Torch
from clinlm.metrics.latency import Latency
from clinlm.pipeline import execution
from clinlm.report.comparison import Candidate, Settings, compare
from clinlm.report.deployments import Bid, auction, bids
from clinlm.report.table import frame

HERE = Deployment(Path("/nowhere"))
TIME = Latency(1.0, 1.0, 1.0, 1.0, 3, 1.0, 1.0, 1.0)


def at(p50_ms: float) -> Latency:
    return replace(TIME, p50_ms=p50_ms)


def test_the_fastest_is_kept_and_the_others_are_told() -> None:
    offers = [
        Bid("m", "slow", HERE),
        Bid("m", "quick", HERE),
        Bid("m", "wrong", None, "it differs"),
        Bid("n", "x", HERE),
    ]
    times = {"m": at(9), "m @slow": at(4), "m @quick": at(2), "n": at(1), "n @x": at(3)}
    kept, told = auction(offers, times)
    assert kept == {"m @quick", "n @x"}  # asked for alone, n's engine is kept though eager torch is faster
    assert told == [
        "engines for m, p50: quick 2.00 ms (kept), slow 4.00 ms, torch (eager) 9.00 ms, wrong refused: it differs"
    ]


def test_a_model_that_every_engine_refuses_keeps_its_artifact_only() -> None:
    kept, told = auction([Bid("m", "a", None, "no"), Bid("m", "b", None, "no")], {"m": at(9)})
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
        bids({"m": HERE}, engine, None, Path())  # type: ignore[dict-item,arg-type]


def test_an_engine_that_is_not_installed_is_named_before_anything_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torch, "missing", lambda self: "a package")
    with pytest.raises(ImportError, match="engine=torch needs a package"):
        Settings(engine=Torch())
    with pytest.raises(ImportError, match="of torch there is none"):
        Auto(engines=["torch"])


def test_names_of_engines_are_a_list() -> None:
    with pytest.raises(ValueError, match=r"write engine\.engines=\[onnxruntime\]"):
        Auto(engines="onnxruntime")


def test_an_engine_that_breaks_loses_the_auction_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Exception):
        """As ONNX Runtime's: no RuntimeError."""

    def breaks(*rest: object) -> Deployment:
        raise Own("no kernel\nwhere: there")

    monkeypatch.setattr("clinlm.report.deployments.deploy", breaks)
    models = {"m": HERE}
    found = bids(models, Auto(engines=["torch"]), None, Path())  # type: ignore[arg-type]
    assert found == [Bid("m", "torch", None, "Own: no kernel")]
    assert auction(found, {"m": at(9)}) == (
        set(),
        ["engines for m, p50: torch (eager) 9.00 ms, torch refused: Own: no kernel"],
    )
    with pytest.raises(Own):
        bids(models, Torch(), None, Path())  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
def test_a_deployed_row_stands_below_its_artifact(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))
    config = composed(notes_csv, tmp_path / "store", "pipeline=quantization", "quantize=dynamic", "epochs=1")
    done = finished(config)
    task, key = execution.open_task(config)
    models = [Candidate(one.name, one.role, one.artifact, one.cached) for one in done]
    settings = Settings(resamples=20, latency_documents=2, latency_passes=1, engine=Torch())
    rows, _, per_label = compare(task, key, models, settings, tmp_path / "store")
    assert [row.name for row in rows][1:] == ["teacher", "teacher @torch", "quantize", "quantize @torch"]
    by_name = {row.name: row for row in rows}
    for name in ("teacher", "quantize"):
        plain, deployed = by_name[name], by_name[f"{name} @torch"]
        # Dynamic ranges are those of a batch: alone, as a deployment is asked, a document gets slightly other integers.
        near = 0.02 if name == "quantize" else 1e-6
        assert deployed.quality == pytest.approx(plain.quality, abs=near) and deployed.key == plain.key
        assert deployed.deployment["of"] == name and deployed.deployment["process_mib"] == 2.0
        assert deployed.engine == "torch" and not plain.deployment and deployed.latency is not None
        assert set(per_label) >= {plain.name, deployed.name}
    assert by_name["quantize @torch"].bytes < by_name["teacher @torch"].bytes
    assert by_name["teacher @torch"].differences and not by_name["teacher"].differences
    assert frame(rows)["engine"].to_list() == ["torch"] * 5
