"""An artifact as files of an engine: exported, compared with the artifact's answers, and held to what it claims."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from clinlm.engines.base import Answer, Engine, find_engine
from clinlm.engines.export_checks import Claim, check_bytes
from clinlm.engines.torch import Torch
from clinlm.models import artifact as artifacts
from clinlm.models.artifact import Artifact
from clinlm.models.layers.base import IntegerLinear
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.models.size import folder_bytes
from clinlm.store.content import RECORD, claim, seal, sealed, verify, write_json
from clinlm.store.key import cache_key
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch, Encoded
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import LongNotes, unit_logits
from clinlm.text.tokens import save_tokenizer

log = logging.getLogger(__name__)

FACTS = "deployment.json"
_PREDICTIONS = "predictions.safetensors"
NOT_DEPLOYED = (_PREDICTIONS, FACTS, RECORD)
"""What lies in the folder but is not needed to run the model, and so does not count as its size."""


@final
@dataclass(frozen=True)
class Deployment:
    """A model as an engine runs it, on disk: its files, `config.json`, tokenizer and `serving.json`.

    Attributes:
        folder: may be copied to wherever the engine is; `clinlm-predict` reads it, and so do the engine's own tools.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What was measured: `engine`, `bytes`, `integer_products`, `peak_mib` (rise), `process_mib` (whole process).

        And how answers compare with the artifact's: `largest_difference` and `mean_difference` of probabilities, and
        `agreement`, the share of equal decisions.
        """
        content: dict[str, Any] = json.loads((self.folder / FACTS).read_text(encoding="utf-8"))
        return content

    def predictions(self, split: str) -> Float[np.ndarray, "documents outputs"]:
        """Return the engine's own logits of `validation` or `test`, in the order of `Examples.units`."""
        with safe_open(self.folder / _PREDICTIONS, "numpy") as file:
            logits: Float[np.ndarray, "documents outputs"] = file.get_tensor(split)
        return logits


@final
@dataclass(frozen=True)
class OpenModel:
    """A model in use.

    Attributes:
        answer: from rows of token ids to their logits.
        tokenizer: that belongs to it.
        serving: what turns logits into decisions.
        engine: name of what runs it.
    """

    answer: Answer
    tokenizer: PreTrainedTokenizerBase
    serving: InferenceConfig
    engine: str


def open_model(folder: Path, threads: int | None = None) -> OpenModel:
    """Return the model of an artifact (run by eager torch) or of a deployment (run by its engine).

    Args:
        folder: of either.
        threads: to compute with; None for the engine's own choice.

    Raises:
        FileNotFoundError: `folder` holds neither.
        Damaged: its files are not those that were written.
    """
    if sealed(folder):  # a copy may have left the record behind
        verify(folder)
    serving = InferenceConfig.load(folder)
    if not (folder / FACTS).is_file():
        if not (folder / artifacts.TOKENIZER).is_dir():  # transformers would take the path for a name on the Hub
            raise FileNotFoundError(
                f"a model in use is whole; {folder} has neither {artifacts.TOKENIZER}/, as an artifact has, nor "
                f"{FACTS}, as a deployment has: its export was stopped or refused, or a copy left it behind; run its "
                "pipeline again"
            )
        tokenizer = AutoTokenizer.from_pretrained(folder / artifacts.TOKENIZER)
        return OpenModel(Torch().open(folder, threads), tokenizer, serving, Torch.name)
    engine = find_engine(json.loads((folder / FACTS).read_text(encoding="utf-8"))["engine"])
    if engine.missing():
        raise ImportError(f"{folder} is for the engine {engine.name}; it needs {engine.missing()}; install it")
    return OpenModel(engine.open(folder, threads), AutoTokenizer.from_pretrained(folder), serving, engine.name)


def deploy(artifact: Artifact, engine: Engine, task: Task, root: Path) -> Deployment:
    """Return `artifact` as `engine` runs it; taken from the store `root` where it is there already.

    The engine answers every validation and test document of `task`, and its answers are compared with the artifact's.
    Of an export that is refused nothing stays.

    Raises:
        RuntimeError: an answer differs by more than the engine's `tolerance`, decisions agree less than its
            `agreement`, or the files do not hold what the artifact claims (see `clinlm.engines.export_checks`).
    """
    settings = {"_target_": f"{type(engine).__module__}.{type(engine).__qualname__}", "engine": engine.name}
    limits = engine.limits | {"version": engine.version()}
    key = cache_key(settings, artifact.key, limits, code=[f"{__name__}.deploy"])
    folder = root / f"{artifact.stage}-{engine.name}-{key}"
    with claim(folder) as whole:
        if not whole:
            log.info("exporting %s to %s [%s]", artifact.stage, engine.name, key)
            try:
                facts = _build(artifact, engine, task, folder)
            except Exception:
                shutil.rmtree(folder)
                raise
            write_json(folder / FACTS, facts)
            seal(folder, {"key": key, "artifact": artifact.key, "engine": engine.name})
    return Deployment(folder)


def _build(artifact: Artifact, engine: Engine, task: Task, folder: Path) -> dict[str, Any]:
    model = artifact.load()
    stored = {split: artifact.predictions(split) for split in ("validation", "test")}
    serving = task.inference_config(stored["validation"], model.max_tokens)
    engine.export(model, folder)
    serving.save(folder)
    _describe(model, serving, folder)
    encoded = task.encode(model.tokenizer, serving.max_tokens)

    def alone(answer: Answer) -> dict[str, Float[np.ndarray, "documents outputs"]]:
        return {split: _alone(answer, encoded, task, split) for split in stored}

    found = alone(engine.open(folder))
    # Where ranges are found at every call, those of a batch are others than those of a note.
    dynamic = any(isinstance(one, Int8Linear) for one in model.network.modules())
    expected = alone(Torch().open(artifact.folder)) if dynamic else stored
    parity = _compare(serving, expected, found)
    _check(parity, engine, model)
    Claim.of(model.network).check(engine, folder)
    deployed = folder_bytes(folder, NOT_DEPLOYED)
    check_bytes(engine, folder_bytes(artifact.folder, artifacts.NOT_DEPLOYED), deployed)
    save_file({split: np.ascontiguousarray(values) for split, values in found.items()}, folder / _PREDICTIONS)
    rise, process = memory(folder, serving.max_tokens, engine)
    return {
        "engine": engine.name,
        "version": engine.version(),
        "bytes": deployed,
        "integer_products": engine.integer_products(folder),
        "peak_mib": rise,
        "process_mib": process,
        **parity,
    }


def _alone(answer: Answer, encoded: Encoded, task: Task, split: str) -> Float[np.ndarray, "documents outputs"]:
    """Return the logits of a split, asked for one document at a time, as a user does."""
    members = task.examples.members(split).tolist()
    return np.concatenate([unit_answers(answer, encoded.collate([one]), task.long_notes) for one in members])


def unit_answers(answer: Answer, batch: Batch, long_notes: LongNotes) -> Float[np.ndarray, "units outputs"]:
    """Return the logits of every unit of a batch: of every document, or of every word."""
    return unit_logits(answer(batch["input_ids"], batch["attention_mask"]), batch, long_notes).float().numpy()


def _compare(serving: InferenceConfig, expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    theirs, ours = (np.concatenate(list(each.values())) for each in (expected, found))
    a, b = serving.probabilities(theirs), serving.probabilities(ours)
    if not np.isfinite(b).all():
        raise RuntimeError("an engine answers with finite numbers; this export does not; choose another engine")
    return {
        "largest_difference": float(np.abs(a - b).max()),
        "mean_difference": float(np.abs(a - b).mean()),
        "largest_logit_difference": float(np.abs(theirs - ours).max()),
        "agreement": float((serving.decide(a) == serving.decide(b)).mean()),
        "documents": len(a),
    }


def _check(parity: Mapping[str, float], engine: Engine, model: Model) -> None:
    whole = not any(isinstance(one, IntegerLinear | Int4Linear) for one in model.network.modules())
    most = "tolerance" if whole else "integer_tolerance"
    broken = [
        f"{what.replace('_', ' ')} {parity[what]:.4f} ({limit} {engine.limits[name]}: engine.{name})"
        for what, limit, name, keeps in (
            ("largest_difference", "at most", most, parity["largest_difference"] <= engine.limits[most]),
            (
                "mean_difference",
                "at most",
                "mean_tolerance",
                parity["mean_difference"] <= engine.limits["mean_tolerance"],
            ),
            ("agreement", "at least", "agreement", parity["agreement"] >= engine.limits["agreement"]),
        )
        if not keeps
    ]
    if broken:
        raise RuntimeError(
            f"an export answers as its artifact does; {engine.name} does not: {', '.join(broken)}; choose another "
            "engine, or other limits"
        )


def _describe(model: Model, serving: InferenceConfig, folder: Path) -> None:
    """Write `config.json` and the tokenizer as transformers and optimum expect them beside a model."""
    names = {number: label for number, label in enumerate(serving.labels)}
    head = "TokenClassification" if serving.kind == "entities" else "SequenceClassification"
    problems = {"multilabel": "multi_label_classification", "multiclass": "single_label_classification"}
    body: Any = model.network.body
    config = body.config.to_dict()
    told = {
        "architectures": [f"{type(body).__name__.removesuffix('Model')}For{head}"],
        "id2label": names,
        "label2id": {label: number for number, label in names.items()},
        "problem_type": problems.get(serving.kind),
    }
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in {**config, **told}.items() if value is not None}, indent=1) + "\n",
        encoding="utf-8",
    )
    tokenizer = model.tokenizer
    limit, tokenizer.model_max_length = tokenizer.model_max_length, serving.max_tokens
    save_tokenizer(tokenizer, folder)
    tokenizer.model_max_length = limit
    path = folder / "tokenizer_config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    # `tokenizer.json` says all there is to say; this class reads it in transformers 4, which optimum needs, and in 5.
    told["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def memory(folder: Path, tokens: int, engine: Engine) -> tuple[float, float]:
    """Return by how many MiB a fresh process grows as it opens a model and reads a row of `tokens`, and how many it has
    in all."""
    command = [sys.executable, "-m", "clinlm.engines.export", str(folder), str(tokens), engine.name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rise, process = done.stdout.split()[-2:]
    return float(rise), float(process)


def _main() -> None:
    """Open the model of the folder named on the command line, read one row, print the rise and the whole, in MiB."""
    from clinlm.models.memory import peak_mib

    folder, tokens, engine = Path(sys.argv[1]), int(sys.argv[2]), find_engine(sys.argv[3])
    before = peak_mib()
    row = torch.ones(1, tokens, dtype=torch.long)
    engine.open(folder)(row, row)
    print(peak_mib() - before, peak_mib())


if __name__ == "__main__":
    _main()
