"""One Lightning fit, from an artifact or a start to an artifact."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
import transformers
from jaxtyping import Float
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger

from clinlm.models import artifact as artifacts
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.base import Initializer
from clinlm.models.model import Model
from clinlm.models.size import count_nonzero, count_parameters, folder_bytes
from clinlm.store.content import write_json
from clinlm.tasks.base import Task
from clinlm.tasks.data import TaskData
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.augmentation.base import Augmentation
from clinlm.training.modules.base import Module, predict
from clinlm.training.stage_callback import StageCallback
from clinlm.training.teachers.base import TeacherSource
from clinlm.training.teachers.cached_logits import networks, teacher_logits
from clinlm.training.teachers.ensemble import Ensemble

log = logging.getLogger(__name__)
Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Stage:
    """What to do in one fit. Built from configuration; where its parents lie is the pipeline's affair.

    Attributes:
        role: `teacher` or `student`: the line of artifacts it continues.
        start: where the first weights come from; the name of an earlier stage; or None, the latest stage of its role.
        module: makes the module from model, task and seed.
        trainer: makes the Trainer from what the stage decides.
        teachers: names of earlier stages, or `tfidf` for the TF-IDF baseline; None, where a teacher is needed, for the
            latest stage of role teacher (for a stage of that role itself, the first one: the teacher before
            compression), all of its members where it has several.
        ensemble: how several teachers are combined; None for the mean of their logits.
        augmentation: makes texts without labels, from which it learns besides the training documents; None for none.
        callbacks: methods and training callbacks, called in this order.
        epochs: most epochs; 0 trains nothing. A recovery callback brings its own number.
        batch_size: documents a training step.
        accumulate: training steps an optimiser step.
        precision: of training and of teacher logits, in Lightning's words. Quality is measured in float32 always.
        clip: largest norm of the gradient; None for any.
        seed: of everything random in the stage.
    """

    role: Role
    module: Callable[..., Module]
    trainer: Callable[..., Trainer]
    start: Initializer | str | None = None
    teachers: Sequence[str] | None = None
    ensemble: Ensemble | None = None
    augmentation: Augmentation | None = None
    callbacks: Mapping[str, Callback] | None = None
    epochs: int = 0
    batch_size: int = 16
    accumulate: int = 1
    precision: str = "32-true"
    clip: float | None = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.role not in ("teacher", "student"):
            raise ValueError(f"a stage's role is teacher or student; got {self.role!r}")
        if self.epochs < 0:
            raise ValueError(f"a stage's epochs are at least 0; got {self.epochs}")
        if self.augmentation is not None and self.answers and not self.wants_logits:
            raise ValueError(
                "a transfer set has no labels, only a teacher's logits; this stage learns from labels alone; leave its "
                "`augmentation` out, or take a module or recovery that learns from a teacher"
            )
        callbacks = (self.callbacks or {}).values()
        waiting = [type(one).__name__ for one in callbacks if getattr(one, "needs_training", False)]
        if waiting and not self.epochs and not any(getattr(one, "epochs", 0) for one in callbacks):
            raise ValueError(
                f"{waiting[0]} acts gradually, while its stage trains; it stands in a stage of 0 epochs; choose "
                "pipeline=pruning_gradual, set the stage's epochs, or take schedule=one_shot where the method allows it"
            )

    @property
    def answers(self) -> bool:
        """Whether the module learns to answer the task."""
        return getattr(getattr(self.module, "func", self.module), "answers", True)

    @property
    def needs_teacher(self) -> bool:
        """Whether module, start or a callback asks for a teacher."""
        return self.wants_logits or self.wants_network or getattr(self.start, "needs_teacher", False)

    @property
    def wants_network(self) -> bool:
        """Whether a teacher's network runs beside the student: the module has a hidden-state loss."""
        return getattr(self.module, "keywords", {}).get("hidden_state_loss") is not None

    @property
    def only_logits(self) -> bool:
        """Whether no teacher's network is asked for, so that any teacher will do."""
        return not (self.wants_network or getattr(self.start, "needs_teacher", False))

    @property
    def wants_logits(self) -> bool:
        """Whether training needs a teacher's logits, and not only its weights to start from."""
        asking = (getattr(self.module, "func", self.module), *(self.callbacks or {}).values())
        return any(getattr(one, "needs_teacher", False) for one in asking)

    def build(
        self,
        task: Task,
        folder: Path,
        parent: Artifact | None,
        teachers: Sequence[TeacherSource],
        logger: Logger | None,
        transfer: TransferSet | None = None,
    ) -> dict[str, Any]:
        """Train, and write everything but the record into `folder`; goes on from `folder/last.ckpt` if there is one.

        Args:
            task: opened.
            folder: of the artifact; it exists.
            parent: the artifact that the stage goes on from, where it has no start of its own.
            teachers: what it learns from.
            logger: Lightning's.
            transfer: the texts that `self.augmentation` makes.

        Returns:
            the report.
        """
        if (transfer is None) != (self.augmentation is None):
            raise RuntimeError("a stage gets the texts of its own transfer; one of the two is missing")
        began = time.monotonic()
        # Before seeding: computing them draws random numbers (the teacher's skeleton), reading them does not.
        logits = None
        if teachers and self.wants_logits:
            logits = teacher_logits(teachers, self.ensemble, task, self.precision, transfer)
        imitated = {"teacher": self._imitated(teachers)} if self.wants_network else {}
        seed_everything(self.seed, verbose=False)
        model = self._model(task, parent, teachers)
        data = TaskData(task, model.tokenizer, model.max_tokens, self.batch_size, self.seed, logits, transfer)
        module = self.module(model=model, data=data, seed=self.seed, **imitated)
        module.train()  # checkpoints come in evaluation mode
        trainer = self._trainer(folder, logger)
        checkpoint = folder / "last.ckpt"
        resumed = _resumable(checkpoint)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        except SystemExit:
            raise KeyboardInterrupt from None  # what Lightning makes an exit of
        report = self._finish(data, model, folder)
        report |= {"seconds": time.monotonic() - began, "epochs": trainer.current_epoch, "role": self.role}
        report["steps"] = trainer.global_step
        if transfer is not None:
            report["transfer"] = {"key": transfer.key, "texts": len(transfer.texts)}
        write_json(folder / "report.json", report)
        checkpoint.unlink(missing_ok=True)
        return report

    def _model(self, task: Task, parent: Artifact | None, teachers: Sequence[TeacherSource]) -> Model:
        if isinstance(self.start, Initializer):
            first = next(iter(networks(teachers)), None)
            return self.start.begin(task, first.load() if first is not None else None)
        if parent is None:
            raise ValueError("a stage begins from a start or from an earlier stage; it has neither")
        return parent.load()

    def _imitated(self, teachers: Sequence[TeacherSource]) -> Model:
        for artifact in networks(teachers):
            return artifact.load()
        raise ValueError(
            "hidden_state_loss needs a teacher with a network, got none; name a stage in `teachers`, or set "
            "hidden_state_loss=none"
        )

    def _trainer(self, folder: Path, logger: Logger | None) -> Trainer:
        callbacks = list((self.callbacks or {}).values())
        return self.trainer(
            default_root_dir=folder,
            max_epochs=self.epochs,
            callbacks=callbacks,
            logger=logger or False,
            precision=self.precision,
            accumulate_grad_batches=self.accumulate,
            gradient_clip_val=self.clip,
            num_sanity_val_steps=0,
            # Without one of ours Lightning would add its own, whose pickled file would lie in the artifact.
            enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
            enable_model_summary=False,
        )

    def _finish(self, data: TaskData, model: Model, folder: Path) -> dict[str, Any]:
        artifacts.save(model, folder)
        logits = {split: _logits(model, data, split) for split in ("validation", "test")}
        artifacts.save_predictions(folder, logits)
        data.task.inference_config(logits["validation"], model.max_tokens).save(folder)
        callbacks = (self.callbacks or {}).items()
        methods = {name: own.report().to_json() for name, own in callbacks if isinstance(own, StageCallback)}
        return {
            "methods": methods,
            "parameters": count_parameters(model.network),
            "nonzero": count_nonzero(model.network),
            "bytes": folder_bytes(folder, artifacts.NOT_DEPLOYED),
            "peak_mib": peak_mib(folder, min(model.max_tokens, data.task.max_tokens)),
            "device": str(next(model.network.parameters()).device),
            "precision": self.precision,
            "versions": {m.__name__: m.__version__ for m in (torch, transformers, lightning)},
        }


def _logits(model: Model, data: TaskData, split: str) -> Float[np.ndarray, "documents outputs"]:
    return predict(model.network, data.loader(data.task.examples.members(split)), data.task.long_notes)[1]


def _resumable(checkpoint: Path) -> Path | None:
    """Return the checkpoint if there is one that can be read; one that cannot is taken away."""
    if not checkpoint.exists():
        return None
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as damage:  # of many kinds: what torch says depends on which byte is broken
        log.warning("%s is damaged (%s): the stage begins anew", checkpoint, type(damage).__name__)
        checkpoint.unlink()
        return None
    return checkpoint


def peak_mib(folder: Path, tokens: int) -> float:
    """Return the MiB by which loading the model and reading a row of `tokens` raises the memory of a fresh process."""
    command = [sys.executable, "-m", "clinlm.models.memory", str(folder), str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
