"""Deployments whose network is a graph of five nodes, written in milliseconds, without torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from clinlm.engines.base import ONNX, OUTPUT, find_engine
from clinlm.engines.open_model import FACTS
from clinlm.engines.selection import Checked, offer_engines
from clinlm.metrics.hardware import processor_here
from clinlm.store.content import seal, write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import Head

LIMITS = {"largest_difference": 0.001, "mean_difference": 0.0005}
WORDS = ["[PAD]", "[UNK]", "[MASK]", *"fever and cough , wheeze ; no toe pain . urate 7 mg".split()]
TABLE = np.random.default_rng(0).normal(size=(len(WORDS), 3)).astype(np.float32)


def bag_of_words(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray((TABLE[ids] * mask[:, :, None]).sum(1))


def save_graph(path: Path) -> None:
    """Write `bag_of_words` as a graph: in milliseconds, where torch needs seconds."""
    from onnx import TensorProto, helper, numpy_helper, save

    ids, mask = (
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in ("input_ids", "attention_mask")
    )
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "last"], ["weights"]),
        helper.make_node("Mul", ["vectors", "weights"], ["read"]),
        helper.make_node("ReduceSum", ["read", "one"], [OUTPUT], keepdims=0),
    ]
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 3])
    constants = {"table": TABLE, "last": np.array([-1]), "one": np.array([1])}
    stored = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "bag", [ids, mask], [logits], stored)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def deploy_bags(folders: Mapping[str, Path], processor: str | None = None) -> None:
    """Write all that an export to engine=auto leaves for its opening.

    Args:
        folders: by engine.
        processor: of the export; None for this one.
    """
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    for name, folder in folders.items():
        save_graph(folder / ONNX)
        tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / "tokenizer_config.json", {"pad_token": "[PAD]", "mask_token": "[MASK]"})
        InferenceConfig("multilabel", ("a", "b", "c"), np.full(3, 0.5), 12, Head()).save(folder)
        Checked.of(bag_of_words, range(3, len(WORDS)), 12, False).save(folder)
        facts = {"engine": name, "files": [ONNX], "version": find_engine(name).version(), "limits": LIMITS}
        write_json(folder / FACTS, facts | {"processor": processor or processor_here()})
        seal(folder, {"key": "k"})
    offer_engines(folders)
