"""A new kind of method from outside the checkout: a class of a package of its own, and a config group of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.pipelines import TINY, composed

from clinlm.config.usage import left_out
from clinlm.config.validation import CONF
from clinlm.pipeline.plan import plan

pytestmark = pytest.mark.integration

METHOD = '''"""Weight clustering: what no method of ours does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from callbacks.base import Compression
from clinlm.models.model import Model
from clinlm.training.method_report import MethodReport, ReportRow
from clinlm.training.modules.base import Module


@final
@dataclass(frozen=True)
class DistinctValues(ReportRow):
    """At most `most` distinct values in every row of a matrix."""

    linear: str
    most: int

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        return f"left at most {own[0].most} distinct values a row in {len(own)} matrices"

    @classmethod
    def compare(cls, rows: Sequence["DistinctValues"], model: Model) -> tuple[bool, bool]:
        matrices = [(model.network.get_submodule(row.linear).weight, row.most) for row in rows]
        return True, all(len(line.unique()) <= most for weight, most in matrices for line in weight)


@final
class Kmeans(Compression):
    """Round every weight to the nearest of `clusters` levels, evenly spaced over the range of its row."""

    technique = "clustering"

    def __init__(self, clusters: int = 4) -> None:
        self.clusters = clusters
        self._rows: list[DistinctValues] = []

    @torch.no_grad()
    def finalize(self, module: Module) -> None:
        self._rows = []
        for name, layer in module.network.named_modules():
            if isinstance(layer, torch.nn.Linear):
                low, high = layer.weight.amin(1, keepdim=True), layer.weight.amax(1, keepdim=True)
                step = ((high - low) / (self.clusters - 1)).clamp_min(1e-12)
                layer.weight.copy_(low + ((layer.weight - low) / step).round() * step)
                self._rows.append(DistinctValues(name, self.clusters))

    def report(self) -> MethodReport:
        return MethodReport(tuple(self._rows))
'''
YAMLS = {
    "cluster/kmeans": "_target_: mylab.kmeans.Kmeans\nclusters: 4\n",
    "cluster/none": "# @package _global_\ncluster: null\n",
    "stage/cluster": (
        "defaults: [fit, /module@module: teacher, _self_]\nrole: student\nmethod: cluster\n"
        "callbacks: {cluster: '${cluster}'}\n"
    ),
    "pipeline/cluster": (
        "# @package _global_\ndefaults:\n  - /stage@stages.teacher: finetune\n  - /stage@stages.cluster: cluster\n"
        "  - _self_\nstages:\n  cluster: {start: teacher}\n"
    ),
}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with a package and a folder of configuration, and nothing of ours."""
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").touch()
    (tmp_path / "mylab" / "kmeans.py").write_text(METHOD)
    for name, text in YAMLS.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(lab: Path, notes: Path, *overrides: str) -> Path:
    """Run the command in the lab; return the folder of the run."""
    folder = lab / "run"
    places = (f"task.root={notes}", f"store={lab / 'store'}", f"hydra.run.dir={folder}")
    command = [sys.executable, "-m", "clinlm", "--config-dir", str(lab / "conf"), "allow=[mylab.]", "pipeline=cluster"]
    settings = [setting for setting in TINY if not setting.startswith("student.")]  # no stage has a student
    done = subprocess.run(
        [*command, *settings, "epochs=1", *places, *overrides],
        capture_output=True,
        text=True,
        cwd=lab,
        env=os.environ | {"PYTHONPATH": f"{lab}{os.pathsep}{CONF.parent}"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_new_kind_of_method_is_two_files(lab: Path, notes_csv: Path) -> None:
    folder = run(lab, notes_csv, "+cluster=kmeans")
    (artifact,) = (lab / "store").glob("cluster-*")
    report = json.loads((artifact / "report.json").read_text())["methods"]["cluster"]
    assert report["tables"][0]["type"] == "mylab.kmeans.DistinctValues"
    summary = f"left at most 4 distinct values a row in {len(report['tables'][0]['rows'])} matrices"
    assert report["summary"] == summary
    assert "cluster: cluster" in (folder / "methods.md").read_text()
    stages = json.loads((folder / "run.json").read_text())["stages"]
    assert [stage["techniques"] for stage in stages] == [[], ["clustering"]]

    source = lab / "mylab" / "kmeans.py"
    source.write_text(METHOD.replace(".clamp_min(1e-12)", ".clamp_min(1e-9)"))
    run(lab, notes_csv, "+cluster=kmeans")
    assert len([*(lab / "store").glob("cluster-*")]) == 2, "its source is part of its key"
    assert len([*(lab / "store").glob("teacher-*")]) == 1


def test_a_stage_of_a_new_kind_is_left_out_like_any_other(lab: Path, notes_csv: Path) -> None:
    places = (f"hydra.searchpath=[file://{lab / 'conf'}]", "+cluster=none", "pipeline=cluster")
    config = composed(notes_csv, lab / "store", *places)
    assert left_out(config) == {"cluster": "cluster"} and [spec.name for spec in plan(config)] == ["teacher"]
