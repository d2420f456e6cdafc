"""An answer does not depend on the notes that it is computed with, whatever the quantisation and the engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.pipelines import built, kept

from callbacks.base import Compression
from clinlm.config.validation import CONF
from clinlm.engines.base import find_engine
from clinlm.engines.export import deploy
from clinlm.engines.open_model import open_model
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.predict.document_head import DocumentHead
from clinlm.predict.model_runner import ModelRunner
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.multilabel import MultiLabel

pytestmark = pytest.mark.usefixtures("graphs", "quick")
ENGINES = [name for name in ("torch", "onnxruntime", "openvino") if not find_engine(name).missing()]
METHODS = sorted(path.stem for path in (CONF / "quantize").glob("*.yaml"))
ALWAYS = "dynamic"


def method(name: str) -> dict[str, Compression]:
    settings: Any = OmegaConf.to_container(OmegaConf.load(CONF / "quantize" / f"{name}.yaml"))
    settings = {key: value for key, value in settings.items() if key not in ("documents", "epochs", "learning_rate")}
    return {} if "_target_" not in settings else {"quantize": instantiate(settings)}


@pytest.fixture(scope="module")
def artifacts(task: MultiLabel, _tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Return an artifact by method, made when it is asked for."""
    root = tmp_path_factory.mktemp("made")
    start = kept(_tiny_model, root / "start")

    class Made(dict[str, Artifact]):
        def __missing__(self, name: str) -> Artifact:
            return self.setdefault(name, built(root / name, task, start, method(name)))

    return Made()


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))


def orders(texts: list[str]) -> Iterator[tuple[list[int], int]]:
    """Yield orders of the notes, and tokens a batch."""
    yield [*range(len(texts))], 100_000
    yield [*reversed(range(len(texts)))], 64
    yield [*np.random.default_rng(0).permutation(len(texts)).tolist()], 1


def check(folder: Path, task: MultiLabel, expected: np.ndarray) -> None:
    """Compare the answers of `clinlm predict` in any company with those that a report reads."""
    texts = task.texts("test")
    for order, tokens in orders(texts):
        runner = ModelRunner(folder, tokens)
        assert isinstance(runner.head, DocumentHead)
        found = runner.predict([texts[place] for place in order])
        np.testing.assert_allclose(found.probabilities, expected[order], atol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        pytest.param(name, engine, marks=[] if name == ALWAYS and engine == "torch" else [pytest.mark.integration])
        for name in METHODS
        for engine in ENGINES
        if (name, engine) != ("dynamic", "openvino")  # which it refuses: see its docstring
    ],
)
def test_an_answer_is_the_same_alone_and_in_any_batch(
    name: str, engine: str, artifacts: dict[str, Artifact], task: MultiLabel, tmp_path: Path
) -> None:
    artifact = artifacts[name]
    config = InferenceConfig.load(artifact.folder)
    assert config.alone == (name != "none")
    check(artifact.folder, task, config.probabilities(artifact.predictions("test")))
    made = deploy(artifact, find_engine(engine, 0.001, 0.25, 0.05, 0.9), task, tmp_path)  # of random weights
    assert open_model(made.folder).inference_config.alone == config.alone
    check(made.folder, task, config.probabilities(made.predictions("test")))


def test_a_folder_of_an_earlier_version_is_read(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    content = json.loads((artifacts[ALWAYS].folder / "serving.json").read_text())
    del content["alone"]
    (tmp_path / "serving.json").write_text(json.dumps(content))
    assert not InferenceConfig.load(tmp_path).alone
