"""Notes answered in parts and by worker processes have the answers of one process, which imports only what it needs."""

import csv
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import ROOT
from support.onnx_deployments import deploy_bags

from clinlm.config.errors import MissingFileError
from clinlm.engines.base import find_engine
from clinlm.engines.folded import Folded
from clinlm.engines.open_model import FACTS
from clinlm.engines.selection import CHOICE, ENGINES
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.models.model import Model, ModelSpec
from clinlm.predict import model_answerer
from clinlm.predict.note_models import NoteModels
from clinlm.predict.note_workers import NoteWorkers, waited
from clinlm.predict.predictions import join_predictions
from clinlm.store.content import write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.terminology.lexicon import MASK
from clinlm.text.long_notes import Head
from clinlm.text.tokens import save_tokenizer

NOTES = ROOT / "docs" / "notes.csv"
BOTH = ("onnxruntime", "openvino")
LABELS = ("fever", "cough", "pain")
HEAVY = {"torch", "lightning", "transformers", "torchmetrics", "scipy", "sklearn", "pandas"}
RUN = """
import sys
from clinlm.cli.main import main
sys.argv = ["clinlm", "predict", "artifact={folder}", "input={notes}", "text=note", "output={output}", "threads=1"]
main()
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
OWN_ENGINES = """
from clinlm.engines.base import Engine
print(*sorted(kind.name for kind in Engine.__subclasses__()))
"""
WORK = """
import sys
from pathlib import Path
from clinlm.predict.note_workers import NoteModels
NoteModels(Path(r"{folder}"), None, 64, None).answer(["fever"])
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
ORPHAN = """
from multiprocessing import active_children
from pathlib import Path
from clinlm.predict.note_workers import NoteWorkers
if __name__ == "__main__":
    workers = NoteWorkers(1, (Path({folder!r}), None, 64, None))
    print(len(workers.submit(["fever"]).result().rows), active_children()[0].pid, flush=True)
    input()
"""


@pytest.fixture(scope="module")
def folders(_tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a convolution for `engine=folded` and a TF-IDF baseline, which answer the same labels."""
    with NOTES.open(encoding="utf-8") as file:
        texts = [row["note"] for row in csv.DictReader(file)]
    made = {name: tmp_path_factory.mktemp(name) for name in ("folded", "tfidf")}
    for folder in made.values():
        InferenceConfig("multilabel", LABELS, np.full(3, 0.5), 64, Head()).save(folder)
    shape = {"vocab_size": len(_tiny_model.tokenizer), "embedding_size": 8, "widths": [1, 3], "filters": [8, 8]}
    spec = ModelSpec({"model_type": "clinlm_text_cnn", "opening": 9} | shape, outputs=3, pooling="max_mean")
    Folded().export(Model(spec, spec.build().eval(), _tiny_model.tokenizer), made["folded"])
    save_tokenizer(_tiny_model.tokenizer, made["folded"])
    write_json(made["folded"] / FACTS, {"engine": "folded"})
    targets = np.array([[name in text.lower() for name in LABELS] for text in texts])
    TfidfBaseline.fit_at(texts, targets, 1.0).save(made["tfidf"])
    return made


@pytest.mark.parametrize("name", ["folded", "tfidf"])
def test_answering_imports_no_library_of_training(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "answers.csv"
    script = RUN.format(folder=folders[name], notes=NOTES, output=output)
    told = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True, "timeout": 300}
    finished = subprocess.run([sys.executable, "-c", script], **told)  # type: ignore[call-overload]
    assert finished.returncode == 0, finished.stderr
    assert HEAVY & {*finished.stdout.splitlines()[-1].split()} == set() and output.is_file()


@pytest.mark.skipif(any(find_engine(one).missing() for one in BOTH), reason="an engine is not installed")
@pytest.mark.parametrize("processor", [None, "A processor (AVX2)"])
def test_answering_imports_no_engine_but_those_offered(processor: str | None, tmp_path: Path) -> None:
    """Where it was exported only the engine of the deployment; elsewhere those of its list."""
    folders = {name: tmp_path / name for name in BOTH}
    for folder in folders.values():
        folder.mkdir()
    deploy_bags(folders, processor)
    folder, output = folders["onnxruntime"], tmp_path / "answers.csv"
    script = RUN.format(folder=folder, notes=NOTES, output=output) + OWN_ENGINES
    told = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True, "timeout": 300}
    finished = subprocess.run([sys.executable, "-c", script], **told)  # type: ignore[call-overload]
    assert finished.returncode == 0, finished.stderr
    *_, modules, engines = finished.stdout.splitlines()
    assert HEAVY & {*modules.split()} == set() and output.is_file() and (folder / ENGINES).is_file()
    expected = BOTH if processor else BOTH[:1]
    assert engines.split() == [*expected] and len([*folder.glob(f"{CHOICE}*")]) == bool(processor)


@pytest.mark.parametrize("name", ["folded", "tfidf"])
def test_a_worker_imports_neither_tables_nor_settings(name: str, folders: dict[str, Path]) -> None:
    told = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True, "timeout": 300}
    finished = subprocess.run([sys.executable, "-c", WORK.format(folder=folders[name])], **told)  # type: ignore[call-overload]
    assert finished.returncode == 0, finished.stderr
    assert {*HEAVY, "polars", "hydra", "omegaconf"} & {*finished.stdout.split()} == set()


def test_models_that_were_let_go_still_say_what_they_refuse_and_write(folders: dict[str, Path]) -> None:
    models = NoteModels(folders["folded"], folders["tfidf"], 64, None)
    networks = [*map(weakref.ref, models._runners)]
    before = models.schema(), models.refuse("fever"), models.refuse(f"a {MASK} b")
    models.let_go()
    assert (models.schema(), models.refuse("fever"), models.refuse(f"a {MASK} b")) == before
    assert [network() for network in networks] == [None, None]


def test_parts_have_the_answers_of_the_whole(folders: dict[str, Path]) -> None:
    with NOTES.open(encoding="utf-8") as file:
        texts = ["", *(row["note"] for row in csv.DictReader(file))]
    models = NoteModels(folders["folded"], folders["tfidf"], 64, None)
    whole, parts = models.answer(texts), [models.answer(texts[start : start + 7]) for start in range(0, len(texts), 7)]
    assert [row for part in parts for row in part.rows] == whole.rows and len(whole.rows) == len(texts)
    for own, each in zip(whole.models, zip(*(part.models for part in parts), strict=True), strict=True):
        np.testing.assert_array_equal(join_predictions(each).probabilities, own.probabilities)  # type: ignore[attr-defined]


@pytest.mark.integration
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_workers_write_what_one_process_writes(
    suffix: str, folders: dict[str, Path], tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"artifact": folders["folded"], "shadow": folders["tfidf"], "text": "note", "window": 32}
    run(NOTES, tmp_path / f"alone{suffix}", threads=1, **told)
    monkeypatch.setattr(model_answerer, "_PATIENCE_S", -1.0)
    run(NOTES, tmp_path / f"workers{suffix}", threads=2, **told)
    for ending in (suffix, f"{suffix}.shadow.json"):
        assert (tmp_path / f"alone{ending}").read_bytes() == (tmp_path / f"workers{ending}").read_bytes()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_workers_end_with_a_process_that_is_killed(folders: dict[str, Path], tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN.format(folder=str(folders["tfidf"])), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    answered, worker = map(int, started.stdout.readline().split())
    assert answered == 1
    started.send_signal(signal.SIGKILL)
    started.communicate()
    until = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.integration
def test_what_a_worker_raises_when_it_opens_its_models_is_told(tmp_path: Path) -> None:
    workers = NoteWorkers(1, (tmp_path / "absent", None, 64, None))
    with pytest.raises(MissingFileError, match="absent"):
        waited(workers.submit(["fever"]))
    workers.close()


def test_a_script_from_a_pipe_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NoteWorkers.can_start()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    assert not NoteWorkers.can_start()
