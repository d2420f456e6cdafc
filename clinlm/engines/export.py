"""Export of an artifact to an engine: files, comparison of predictions, and export checks."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import save_file

from clinlm.config.errors import ModelError
from clinlm.engines.base import Answer, Engine, engine_path
from clinlm.engines.deployment import PREDICTIONS, Deployment
from clinlm.engines.export_checks import check_bytes, check_export
from clinlm.engines.open_model import FACTS
from clinlm.engines.selection import ENGINES, Checked
from clinlm.engines.torch import integer_layers, network_answers
from clinlm.metrics.hardware import processor_here
from clinlm.models import artifact as artifacts
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.models.size import folder_bytes
from clinlm.store.content import RECORD, claim, seal, write_json
from clinlm.store.key import cache_key
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch, unit_logits
from clinlm.tasks.encoded import Encoded
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.long_notes import LongNotes
from clinlm.text.tokens import save_tokenizer

log = logging.getLogger(__name__)

NOT_DEPLOYED = (PREDICTIONS, FACTS, ENGINES, RECORD, artifacts.CARD)
"""Files that running the model does not need, and that do not count as its size."""


def deploy(artifact: Artifact, engine: Engine, task: Task, root: Path) -> Deployment:
    """Return `artifact` exported to `engine`, from the store `root` if it is there already.

    The engine predicts every validation and test document of `task`, and the predictions are compared with the
    artifact's. A refused export is deleted.

    Raises:
        ModelError: a prediction differs by more than the engine's `tolerance`, decisions agree less than its
            `agreement`, or the files fail a check of `clinlm.engines.export_checks`.
    """
    settings = {"_target_": engine_path(engine), "engine": engine.name}
    limits = engine.limits | {"version": engine.version(), "files": engine.files}
    key = cache_key(settings, artifact.key, limits, code=[f"{__name__}.deploy"])
    folder = root / f"{artifact.stage}-{engine.name}-{key}"
    with claim(folder) as whole:
        if not whole:
            log.info("exporting %s to %s [%s]", artifact.stage, engine.name, key)
            try:
                facts = _build(artifact, engine, task, folder)
            except Exception:  # whatever fails, an incomplete folder must not stay
                shutil.rmtree(folder)
                raise
            write_json(folder / FACTS, facts)
            seal(folder, {"key": key, "artifact": artifact.key, "engine": engine.name})
    return Deployment(folder)


def _build(artifact: Artifact, engine: Engine, task: Task, folder: Path) -> dict[str, Any]:
    model = artifact.load()
    stored = {split: artifact.predictions(split) for split in ("validation", "test")}
    config = InferenceConfig.load(artifact.folder)
    engine.export(model, folder)
    config.save(folder)  # for the engine to open; its sets are calibrated below
    _write_config(model, config, folder)
    encoded = task.encode(model.tokenizer, config.max_tokens)

    answer = engine.open(folder)
    found = {split: _predict_singly(answer, encoded, task, split) for split in stored}
    parity = _compare(config, stored, found)
    which = _limits(engine, model)
    _check_parity(parity, engine, which)
    limits = {what: engine.limits[name] for what, name in which.items()}
    if not _write_check(model, config, answer, limits, folder):
        limits = {}
    check_export(model.network, engine, folder)
    # Thresholds of decisions stay the artifact's; those of sets are attained by probabilities, and differ in digits.
    conformal = task.fit_conformal(config.probabilities(found["validation"]))
    replace(config, conformal=conformal).save(folder)
    deployed = folder_bytes(folder, NOT_DEPLOYED)
    check_bytes(engine, folder_bytes(artifact.folder, (*artifacts.NOT_DEPLOYED, artifacts.CARD)), deployed)
    save_file({split: np.ascontiguousarray(values) for split, values in found.items()}, folder / PREDICTIONS)
    rise, process = memory(folder, config.max_tokens, engine)
    return {
        "engine": engine.name,
        "engine_class": engine_path(engine),
        "files": [*engine.files],
        "version": engine.version(),
        "bytes": deployed,
        "integer_products": engine.integer_products(folder),
        "peak_mib": rise,
        "process_mib": process,
        "processor": processor_here(),
        "limits": limits,
        **parity,
    }


def _predict_singly(answer: Answer, encoded: Encoded, task: Task, split: str) -> Float[np.ndarray, "documents outputs"]:
    """Return the logits of a split, computed one document at a time, as in use."""
    members = task.examples.members(split).tolist()
    return np.concatenate([unit_answers(answer, encoded.collate([document]), task.long_notes) for document in members])


def unit_answers(answer: Answer, batch: Batch, long_notes: LongNotes) -> Float[np.ndarray, "units outputs"]:
    """Return the logits of every unit of a batch: a document, or a word."""
    rows = answer(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    return unit_logits(torch.from_numpy(rows), batch, long_notes).numpy()


def _compare(config: InferenceConfig, expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    artifact_logits, engine_logits = (np.concatenate(list(splits.values())) for splits in (expected, found))
    a, b = config.probabilities(artifact_logits), config.probabilities(engine_logits)
    if not np.isfinite(b).all():
        raise ModelError("logits of an export must be finite, got NaN or infinity; use another engine")
    return {
        "largest_difference": float(np.abs(a - b).max()),
        "mean_difference": float(np.abs(a - b).mean()),
        "largest_logit_difference": float(np.abs(artifact_logits - engine_logits).max()),
        "agreement": float((config.decide(a) == config.decide(b)).mean()),
        "documents": len(a),
    }


def _write_check(
    model: Model, config: InferenceConfig, answer: Answer, limits: Mapping[str, float], folder: Path
) -> bool:
    """Write what `clinlm.engines.selection` compares on other processors; return whether it can."""
    tokens = sorted({*model.tokenizer.get_vocab().values()} - {*model.tokenizer.all_special_ids})
    answers = network_answers(model.network)
    checked = Checked.of(answers, tokens, config.max_tokens, config.kind == "entities")
    if broken := checked.broken(answer, config, limits):
        log.info("answers are not checked on other processors: for random tokens, here already, %s", broken)
    else:
        checked.save(folder)
    return not broken


def _limits(engine: Engine, model: Model) -> dict[str, str]:
    """Return which limit of the engine holds for which difference of probabilities."""
    exact = all(layer.exact for layer in integer_layers(model.network))
    return {"largest_difference": "tolerance" if exact else "integer_tolerance", "mean_difference": "mean_tolerance"}


def _check_parity(parity: Mapping[str, float], engine: Engine, limits: Mapping[str, str]) -> None:
    broken = [
        f"{what.replace('_', ' ')} {parity[what]:.4f} (at most {engine.limits[name]}: engine.{name})"
        for what, name in limits.items()
        if not parity[what] <= engine.limits[name]
    ]
    least = engine.limits["agreement"]
    if parity["agreement"] < least:
        broken.append(f"agreement {parity['agreement']:.4f} (at least {least}: engine.agreement)")
    if broken:
        raise ModelError(
            f"predictions of {engine.name} must match the artifact's, got {', '.join(broken)}; use another engine, or "
            "set other limits"
        )


def _write_config(model: Model, config: InferenceConfig, folder: Path) -> None:
    """Write `config.json` and the tokenizer in the form that transformers and optimum expect."""
    names = {number: label for number, label in enumerate(config.labels)}
    head = "TokenClassification" if config.kind == "entities" else "SequenceClassification"
    problems = {"multilabel": "multi_label_classification", "multiclass": "single_label_classification"}
    body: Any = model.network.body
    content = {
        **body.config.to_dict(),
        "architectures": [f"{type(body).__name__.removesuffix('Model')}For{head}"],
        "id2label": names,
        "label2id": {label: number for number, label in names.items()},
        "problem_type": problems.get(config.kind),
    }
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in content.items() if value is not None}, indent=1) + "\n",
        encoding="utf-8",
    )
    tokenizer = model.tokenizer
    limit, tokenizer.model_max_length = tokenizer.model_max_length, config.max_tokens
    save_tokenizer(tokenizer, folder)
    tokenizer.model_max_length = limit
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    # `tokenizer.json` is complete; transformers 4, which optimum needs, and 5 both read it with this class.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def memory(folder: Path, tokens: int, engine: Engine) -> tuple[float, float]:
    """Return, in MiB, how much a fresh process grows by running one row of `tokens`, and its peak memory in all.

    The process is one that answers, as `clinlm predict` is: see `clinlm.engines.served_memory`.
    """
    own = [str(folder), str(tokens), engine_path(engine), " ".join(engine.files)]
    command = [sys.executable, "-m", "clinlm.engines.served_memory", *own, *artifacts.foreign_packages(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rise, process = done.stdout.split()[-2:]
    return float(rise), float(process)
