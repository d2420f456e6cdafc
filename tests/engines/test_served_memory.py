"""Memory of a deployment is that of a process that answers: it has no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clinlm.engines.base import engine_path, find_engine
from clinlm.engines.export import memory
from clinlm.models.model import Model, ModelSpec
from clinlm.text.tokens import save_tokenizer

CODE = """
import json, sys
from clinlm.engines.served_memory import main
main()
print(json.dumps([*sys.modules]))
"""
HEAVY = {"torch", "transformers", "scipy", "lightning", "sklearn"}


@pytest.mark.parametrize("name", ["folded", "onnxruntime", "openvino", "torch"])
def test_only_an_engine_of_torch_needs_torch(name: str, tmp_path: Path, tiny_model: Model, graphs: None) -> None:
    engine = find_engine(name)
    if engine.missing():
        pytest.skip(f"{engine.missing()} is not installed")
    model = tiny_model
    if name == "folded":
        shape = {"vocab_size": len(model.tokenizer), "embedding_size": 16, "widths": [1, 3], "filters": [16, 16]}
        spec = ModelSpec({"model_type": "clinlm_text_cnn", "opening": 3} | shape, outputs=3, pooling="max_mean")
        model = Model(spec, spec.build().eval(), tiny_model.tokenizer)
    engine.export(model, tmp_path)
    save_tokenizer(model.tokenizer, tmp_path)
    arguments = [str(tmp_path), "16", engine_path(engine), " ".join(engine.files)]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True)
    said, modules = done.stdout.splitlines()[-2:]
    rise, peak = map(float, said.split())
    assert 0 < rise < peak
    assert (HEAVY & {*json.loads(modules)} != set()) == (name == "torch")
    assert memory(tmp_path, 16, engine)[1] == pytest.approx(peak, rel=0.2)
