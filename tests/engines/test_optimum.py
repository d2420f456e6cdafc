"""optimum and optimum-intel open our deployments, in an environment of their own (`make optimum`), and answer equal."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.pipelines import built, kept

from callbacks.quantize.static import Static
from clinlm.engines.base import find_engine
from clinlm.engines.deployment import Deployment
from clinlm.engines.export import deploy
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel

PYTHON = Path(__file__).parents[2] / ".venv-optimum" / "bin" / "python"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("graphs"),
    pytest.mark.skipif(
        not PYTHON.exists(), reason="optimum needs transformers 4: `make optimum` installs both, and tests"
    ),
]
SCRIPT = """
import importlib, json, sys
from transformers import AutoTokenizer
module, name, folder, settings = sys.argv[1:]
model = getattr(importlib.import_module(module), name).from_pretrained(folder, **json.loads(settings))
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = [tokenizer([text], return_tensors="pt", truncation=True) for text in json.load(sys.stdin)]
print(json.dumps([model.config.id2label[number] for number in range(4)]))
rows = [{own: row[own] for own in ("input_ids", "attention_mask")} for row in rows]
print(json.dumps([model(**row).logits.tolist()[0] for row in rows]))
"""


@pytest.fixture(scope="module")
def artifacts(task: MultiLabel, tmp_path_factory: pytest.TempPathFactory, _tiny_model: Model) -> dict[str, Artifact]:
    """A network as it is, and one in INT8."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clinlm.pipeline.stage.measure_peak_mib", lambda folder, tokens: 1.0)
        start = kept(_tiny_model, root / "start")
        methods = {"float": {}, "int8": {"quantize": Static(documents=16)}}
        return {name: built(root / name, task, start, method) for name, method in methods.items()}


@pytest.fixture(params=["float", "int8"])
def deployed(
    request: pytest.FixtureRequest, artifacts: dict[str, Artifact], task: MultiLabel, tmp_path: Path
) -> Iterator[list[tuple[str, Deployment]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))
        engines = [find_engine(name) for name in ("onnxruntime", "openvino")]
        yield [(own.name, deploy(artifacts[request.param], own, task, tmp_path / own.name)) for own in engines]


def test_their_answers_are_ours(deployed: list[tuple[str, Deployment]], task: MultiLabel) -> None:
    """From the text of every note of the test split to its logits."""
    exact = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}  # else in bfloat16, where the processor has it
    classes = {
        "onnxruntime": ("optimum.onnxruntime", "ORTModelForSequenceClassification", {}),
        "openvino": ("optimum.intel", "OVModelForSequenceClassification", exact),
    }
    texts = task.examples.frame["text"].gather(task.examples.members("test")).to_list()
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": ""}
    for name, own in deployed:
        module, kind, settings = classes[name]
        done = subprocess.run(
            [str(PYTHON), "-c", SCRIPT, module, kind, str(own.folder), json.dumps(settings)],
            input=json.dumps(texts),
            env=os.environ | quiet,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        labels, logits = map(json.loads, done.stdout.splitlines()[-2:])
        assert labels == list(task.examples.labels)
        np.testing.assert_allclose(np.array(logits), own.predictions("test"), atol=1e-5, err_msg=name)
