"""A gate in a pipeline: what it judges, where it stops, what stays; and the exit status of the command."""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import SMALL, clinlm
from support.pipelines import composed, finished
from support.reports import recorded, result

from clinlm.cli import main, pipelines
from clinlm.config.settings import plain
from clinlm.pipeline.gates import open_gate
from clinlm.pipeline.results import GateFailed
from clinlm.report import gates
from clinlm.report.selection import every_stage
from clinlm.report.sweep import FAILED

pytestmark = pytest.mark.usefixtures("quick")
ANY = "gate.floor=null"
"""Networks of random weights, trained for one epoch, are below TF-IDF."""
LIMITS = (
    *("gate.metrics={macro_auroc: 1.0, micro_f1: 1.0}", "gate.agreement=0.0", "gate.judge=point"),
    *("gate.coverage=null", "gate.set_size=null"),
)
OPEN = ("gate=low", ANY, *LIMITS)
"""A gate that is passed by whatever is defined."""
SHUT = ("gate=low", ANY, "gate.agreement=1.0", "+gate.resamples=20")
"""A gate that a dozen documents cannot pass: the low end of the interval of agreement is below 1."""
C = ["teacher", "prune_teacher", "recover_teacher", "student", "prune_student", "recover_student"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gated") / "store"


def test_a_pipeline_that_passes_runs_to_its_end(notes_csv: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        done = finished(composed(notes_csv, root, "pipeline=c", "epochs=1", *OPEN))
    assert [one.name for one in done] == C
    judged = [one.name for one in done if one.verdict is not None]
    assert judged == ["recover_teacher", "student", "recover_student"], "the teacher has no floor"
    assert all(one.verdict is None or one.verdict.passed for one in done)
    assert caplog.text.count("gate low, ") == 3 and done[-1].techniques == ("pruning", "distillation")


def test_a_pipeline_that_fails_stops_there_and_keeps_what_it_built(notes_csv: Path, root: Path) -> None:
    """Stages that were in the store already are judged as well."""
    with pytest.raises(
        GateFailed, match="'recover_teacher' fails gate low by interval on validation.*agreement"
    ) as failed:
        finished(composed(notes_csv, root, "pipeline=c", "epochs=1", *SHUT))
    assert [one.name for one in failed.value.done] == C[:3] and all(one.cached for one in failed.value.done)
    (verdict,) = failed.value.verdicts
    assert verdict.subject == "recover_teacher" and not verdict.passed and verdict.findings[0].quantity == "agreement"
    assert "too little; " in str(failed.value) and "quantize=int4 (int4)" in str(failed.value)
    assert failed.value.exit_status == 3


def test_a_teacher_below_the_floor_is_not_compressed(notes_csv: Path, root: Path) -> None:
    for floor, name in (("tfidf", "macro_f1 of the better TF-IDF"), ("0.99", "macro_f1 99.00")):
        with pytest.raises(GateFailed, match=rf"'teacher' fails .* floor \({name}\) -.*set gate.floor=null") as failed:
            finished(composed(notes_csv, root, "pipeline=c", "epochs=1", "gate=low", *LIMITS, f"gate.floor={floor}"))
        assert [one.name for one in failed.value.done] == ["teacher"]
    done = finished(composed(notes_csv, root, "pipeline=c", "epochs=1", "gate=low", *LIMITS, "gate.floor=0"))
    assert done[0].verdict is not None and done[0].verdict.passed and len(done) == len(C)


def test_a_gate_changes_no_key(notes_csv: Path, root: Path) -> None:
    assert all(one.cached for one in finished(composed(notes_csv, root, "pipeline=c", "epochs=1")))


def test_the_report_tells_every_gate_of_every_compressed_stage(notes_csv: Path, root: Path) -> None:
    run, task = recorded(composed(notes_csv, root, "pipeline=c", "epochs=1"))
    known = gates.known_gates(run)
    assert [gate.name for gate in known] == ["critical", "high", "medium", "low"]
    found = [replace(each, gates=gates.verdicts(task, each, known)) for each in every_stage(run)]
    judged = [each for each in found if each.gates]
    assert [each.name for each in judged] == C[1:]
    assert all([verdict.gate for verdict in each.gates] == [gate.name for gate in known] for each in judged)
    assert all(each.gates[0].refused for each in judged), "critical allows no pruning"
    assert (
        len(gates.verdict_lines(found)) == 6 and "critical fails (pruning not allowed" in gates.verdict_lines(found)[0]
    )
    assert gates.verdict_lines(found)[5].startswith("gates      fairness not measured: the corpus has no attributes"), (
        "once"
    )
    assert gates.verdict_markdown(found).startswith("| stage | critical | high | medium | low |")
    assert gates.verdict_numbers(found).count("- gate ") == 20
    assert gates.verdict_markdown([]) == ""


def test_the_chosen_gate_is_told_as_it_was_set(notes_csv: Path, root: Path) -> None:
    config = composed(notes_csv, root, "pipeline=baseline", "epochs=1")
    assert open_gate(config) is None
    run, _ = recorded(config)
    chosen = plain(composed(notes_csv, root, *OPEN).gate)
    low = gates.known_gates(replace(run, gate=chosen))[-1]
    assert low.name == "low" and low.metrics == {"macro_auroc": 1.0, "micro_f1": 1.0}
    mine = {"_target_": "clinlm.pipeline.gates.Gate", "name": "mine", "metrics": {"micro_f1": 0.1}}
    assert [each.name for each in gates.known_gates(replace(run, gate=mine))] == [
        *("critical", "high", "medium", "low", "mine")
    ]


def test_a_gate_without_anything_to_judge_says_so(
    notes_csv: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = finished(composed(notes_csv, root, "pipeline=baseline", "epochs=1", "gate=critical", ANY))
    assert done.verdict is None and "gate critical judges nothing" in caplog.text


def test_devices_are_told_one_line_each(notes_csv: Path, root: Path) -> None:
    model = result("m", bytes=4_000_000, engine="openvino", deployment={"process_mib": 12.5})
    every = gates.device_lines(plain(composed(notes_csv, root).device), model)
    assert len(every) == 6
    (line,) = gates.device_lines(plain(composed(notes_csv, root, "device=raspberry_pi_5").device), model)
    assert line.startswith("Raspberry Pi 5: fits: 4 of 50 MB on disk (46 to spare), 12.5 of 8,192 MiB")
    assert line in every


# The command itself.


def test_a_failed_gate_is_exit_status_3_also_where_tracebacks_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise GateFailed("the gate says no")

    monkeypatch.setattr(pipelines, "launch", refused)
    monkeypatch.setattr(sys, "argv", ["clinlm"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 3


@pytest.mark.integration
def test_a_failed_gate_is_exit_status_3(notes_csv: Path, tmp_path: Path) -> None:
    """In a sweep the other jobs go on, and it has its table; what was built stays where a pipeline stops."""
    ours = [*SMALL, f"task.root={notes_csv}", "logger=none"]
    jobs = clinlm(tmp_path, *ours, "-m", "pipeline=quantization,baseline", "gate=critical", ANY)
    assert jobs.returncode == 3 and "Traceback" not in jobs.stderr
    told = jobs.stderr.partition("clinlm: job 0: ")[2]
    assert "stage 'quantize' uses post-training quantization; nothing was trained; use one that it allows: " in told
    assert "allows: pipeline=quantization_qat (quantization-aware training)" in told
    (left,) = tmp_path.glob(f"outputs/sweeps/*/0/{FAILED}")
    assert json.loads(left.read_text())["verdicts"][0]["stage"] == "quantize"
    assert list(tmp_path.glob("outputs/sweeps/*/1/run.json")) and list(tmp_path.glob("outputs/sweeps/*/table.md"))
    assert not list(tmp_path.glob("outputs/store/quantize-*"))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "run.json").write_text("{}")
    lost = clinlm(tmp_path, *ours, "pipeline=quantization", *SHUT, "hydra.run.dir=again")
    assert lost.returncode == 3 and "Traceback" not in lost.stderr
    assert "stage 'quantize' fails gate low by interval" in lost.stderr.partition("clinlm: ")[2]
    assert (tmp_path / "again" / "gates.md").is_file()
    assert not (tmp_path / "again" / "run.json").exists(), "of an earlier run, which passed"
    assert list(tmp_path.glob("outputs/store/quantize-*/record.json"))
