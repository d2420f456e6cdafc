"""One Lightning fit: from an artifact or an initializer to an artifact."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, final

import lightning
import numpy as np
import torch
import transformers
from jaxtyping import Float
from lightning import Callback, Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from clinlm.config.errors import ConfigError
from clinlm.config.placement import is_distributed
from clinlm.config.runtime import Stopwatch
from clinlm.config.targets import find_target, instantiate
from clinlm.models import artifact as artifacts
from clinlm.models.adapters.base import Adapter
from clinlm.models.artifact import Artifact, foreign_packages
from clinlm.models.initializers.base import Initializer
from clinlm.models.layers.base import reads_alone
from clinlm.models.memory import PeakGrowth, PeakMeter
from clinlm.models.model import Model
from clinlm.models.size import count_nonzero, count_parameters, folder_bytes
from clinlm.pipeline.ddp import Inputs, LeaveAtEnd, Origin, RankEnvironment, own_environment, started_ranks
from clinlm.pipeline.stage_spec import Role
from clinlm.store.checkpoint import drop_checkpoint, find_checkpoint
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
from clinlm.training.teachers.tfidf import TFIDF

log = logging.getLogger(__name__)
_METER = PeakMeter()


@final
@dataclass(frozen=True)
class ModuleFactory:
    """A class of module and its arguments, but for model, data and seed.

    Attributes:
        kind: a concrete subclass of `Module`.
        arguments: built from the settings.
    """

    kind: type[Module]
    arguments: Mapping[str, Any]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the factory of a node with a `_target_`.

        Raises:
            ConfigError: the target is no `Module`.
        """
        target = settings.get("_target_")
        kind = find_target(str(target))
        if not (isinstance(kind, type) and issubclass(kind, Module)):
            raise ConfigError(f"a stage's module must be a clinlm Module, got {target}; set module._target_ to one")
        own = {name: value for name, value in settings.items() if name not in ("_target_", "_partial_")}
        return cls(kind, {name: instantiate(v) if isinstance(v, Mapping) else v for name, v in own.items()})

    @property
    def imitates(self) -> bool:
        """Whether a teacher's network runs in training, to imitate its hidden states."""
        return self.kind.imitates(self.arguments)

    def build(self, model: Model, data: TaskData, seed: int, teacher: Model | None) -> Module:
        """Return the module.

        Args:
            teacher: whose network is imitated; None if none is.
        """
        arguments = self.arguments if teacher is None else {**self.arguments, "teacher": teacher}
        return self.kind(model=model, data=data, seed=seed, **arguments)


@dataclass(frozen=True)
class Stage:
    """The settings of one fit, as objects. The pipeline resolves parent artifacts and teachers.

    Attributes:
        role: `teacher` or `student`: which line of artifacts it continues.
        module: builds the module from model, data and seed.
        trainer: builds the Trainer from what the stage decides.
        start: an initializer; the name of an earlier stage; or None, the latest stage of its role.
        teachers: names of earlier stages, or `tfidf` for the TF-IDF baseline. None, where a teacher is needed, means
            the latest stage of role teacher with all its members; for a stage of that role itself the first one, the
            teacher before compression.
        ensemble: how several teachers are combined; None for the mean of their logits.
        augmentation: makes texts without labels, from which it learns as well; None for none.
        callbacks: methods and training callbacks, called in this order.
        epochs: most epochs; 0 trains nothing. A callback may bring its own number (`StageCallback.epochs`).
        batch_size: documents per training step, on all devices together.
        accumulate: training steps per optimiser step.
        precision: of training and of teacher logits, as Lightning names it. Quality is always measured in float32.
        clip: largest norm of the gradient; None for no limit.
        seed: of everything random in the stage.

    Raises:
        ConfigError: a setting is out of its range, or two do not go together.
    """

    role: Role
    module: ModuleFactory
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
            raise ConfigError(f"a stage's role must be teacher or student, got {self.role!r}")
        if self.epochs < 0:
            raise ConfigError(f"a stage's epochs must be at least 0, got {self.epochs}")
        if self.accumulate < 1:
            raise ConfigError(f"accumulate must be at least 1, got {self.accumulate}")
        if self.augmentation is not None and self.module.kind.answers and not self.needs_logits:
            raise ConfigError(
                "a transfer set must have a teacher's logits, for it has no labels; this stage learns from labels "
                "only; remove its `augmentation`, or set a module that learns from a teacher"
            )
        self._check_adapter()
        waiting = [type(own).__name__ for own in self.declared if own.needs_training]
        if waiting and not self.trains:
            raise ConfigError(
                f"{waiting[0]} needs training, but its stage has epochs=0; choose pipeline=pruning_gradual, set the "
                "stage's epochs, or set schedule=one_shot where the method allows it"
            )

    def _check_adapter(self) -> None:
        adapter = self.module.arguments.get("adapter")
        if not self.trains or not isinstance(adapter, Adapter):
            return
        stem = type(adapter).__module__.rpartition(".")[2]
        for own in self.declared:
            if adapter.wraps and own.needs_plain_layers:
                raise ConfigError(
                    f"{type(own).__name__} needs adapter=full, bitfit or last_layers, because it works on the linear "
                    f"layers that adapter={stem} wraps; set adapter@{self.role}=full"
                )
            if adapter.splits and own.technique == "pruning" and own.needs_training:
                raise ConfigError(
                    f"{type(own).__name__} ranks weights while adapter={stem} keeps their largest part elsewhere; set "
                    f"adapter@{self.role}=lora, or prune before training (schedule=one_shot)"
                )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the stage of resolved settings: a node whose `_target_` is this class.

        Its `adapter` goes to the module: it depends on the stage's role, and several stages share one `module`.
        """
        others = {name: value for name, value in settings.items() if name not in ("module", "adapter")}
        adapter = {name: value for name, value in settings.items() if name == "adapter"}
        build: Callable[..., Self] = instantiate(others | {"_partial_": True})
        return build(module=ModuleFactory.from_settings(settings["module"] | adapter))

    @property
    def declared(self) -> list[StageCallback]:
        """The callbacks that declare needs and report; any other Lightning callback does neither."""
        return [own for own in (self.callbacks or {}).values() if isinstance(own, StageCallback)]

    @property
    def trains(self) -> bool:
        """Whether anything learns."""
        return self.epochs > 0 or any(own.epochs for own in self.declared)

    @property
    def needs_logits(self) -> bool:
        """Whether training needs a teacher's logits: never where nothing learns, as in a stage of quantize=dynamic."""
        learns = self.trains or self.augmentation is not None
        return learns and (self.module.kind.needs_teacher or any(own.needs_teacher for own in self.declared))

    @property
    def needs_network(self) -> bool:
        """Whether a teacher's network is needed: to initialise from, or to imitate its hidden states."""
        return self.module.imitates or (isinstance(self.start, Initializer) and self.start.needs_teacher)

    @property
    def needs_teacher(self) -> bool:
        """Whether module, initializer or a callback needs a teacher."""
        return self.needs_logits or self.needs_network

    @property
    def techniques(self) -> tuple[str, ...]:
        """How it compresses, as it declares: keys of `clinlm.pipeline.gates.TECHNIQUES`, in order.

        Learning from a teacher, its answers or its hidden states, is distillation, but for the epochs of a callback:
        recovery makes nothing smaller, and quantisation-aware training has a technique of its own.
        """
        learns = self.module.kind.needs_teacher or self.module.imitates
        distils = learns and self.epochs > 0 and not any(own.epochs for own in self.declared)
        methods = [own.technique for own in self.declared if own.technique is not None]
        return (*(["distillation"] if distils else []), *methods)

    def build(
        self,
        task: Task,
        folder: Path,
        parent: Artifact | None,
        teachers: Sequence[TeacherSource],
        logger: Logger | None,
        transfer: TransferSet | None = None,
        origin: Origin | None = None,
    ) -> dict[str, Any]:
        """Train, and write everything but the record into `folder`; resume from `folder/last.ckpt` if it exists.

        Args:
            folder: of the artifact; it exists.
            parent: the artifact that the stage continues; None if it has an initializer.
            teachers: what it learns from.
            transfer: the texts that `self.augmentation` makes.
            origin: of this stage and the task, for processes on other devices; None where one device trains.

        Returns:
            the report: `seconds` are of training, over all attempts up to the checkpoints that were continued.
        """
        if (transfer is None) != (self.augmentation is None):
            raise ValueError("augmentation and its texts must be given together, got only one of them")
        clock = _Clock()
        # Before seeding: computing them draws random numbers (the teacher's skeleton), reading them does not.
        logits = {"teacher_logits": self._teacher_logits(teachers, task, transfer)}
        inputs = Inputs(task, parent, next(iter(networks(teachers)), None), transfer, _present(logits))
        imitated = self._imitated(inputs)
        model = self._model(inputs)
        terms = [teacher for teacher in teachers if teacher.name == TFIDF and model.network.wide is not None]
        logits["wide_logits"] = self._teacher_logits(terms, task, transfer)
        inputs = replace(inputs, logits=_present(logits))
        module = self._module(inputs, model, imitated)
        environment = own_environment() if self.trains and self.distributed else None
        trainer = self._trainer(folder, logger, [clock], environment, module)
        memory = self._fit(trainer, module, inputs, environment, origin)
        seconds, measuring = clock.seconds(), Stopwatch()
        report = self._finish(module.data, model, folder)
        report |= {"trainable": module.trainable, "training_peak_mib": memory.mib} if self.trains else {}
        report |= {"seconds": seconds, "attempts": clock.attempts, "measuring_seconds": measuring.seconds()}
        report |= {"epochs": trainer.current_epoch, "steps": trainer.global_step, "role": self.role}
        report |= {"vocabulary": asdict(model.learnt)} if model.learnt is not None else {}
        if transfer is not None:
            report["transfer"] = {"key": transfer.key, "texts": len(transfer.texts)}
        write_json(folder / "report.json", report)
        drop_checkpoint(folder)
        return report

    def _teacher_logits(
        self, teachers: Sequence[TeacherSource], task: Task, transfer: TransferSet | None
    ) -> Float[Tensor, "units outputs"] | None:
        """Return the combined logits of teachers; None without any, or where nothing learns from them."""
        if not teachers or not self.needs_logits:
            return None
        found: Tensor = teacher_logits(teachers, self.ensemble, task, self.precision, transfer)
        return found

    def prepared_rank(self, inputs: Inputs, folder: Path, environment: RankEnvironment) -> tuple[Trainer, Module]:
        """Return what fits as another rank than 0: the same module, and a trainer that logs nothing."""
        quiet = replace(self, trainer=partial(self.trainer, enable_progress_bar=False))
        imitated = self._imitated(inputs)
        module = self._module(inputs, self._model(inputs), imitated)
        return quiet._trainer(folder, DummyLogger(), [_Clock(), LeaveAtEnd()], environment, module), module

    def _model(self, inputs: Inputs) -> Model:
        seed_everything(self.seed, verbose=False)
        os.environ.pop("PL_GLOBAL_SEED", None)  # DDP would seed again, after the model was made
        if isinstance(self.start, Initializer):
            return self.start.begin(inputs.task, None if inputs.network is None else inputs.network.load())
        if inputs.parent is None:
            raise ConfigError("a stage must have an initializer or a parent artifact, got neither")
        return inputs.parent.load()

    def _imitated(self, inputs: Inputs) -> Model | None:
        if not self.module.imitates:
            return None
        if inputs.network is None:
            raise ConfigError(
                "hidden_state_loss needs a teacher with a network, got none; name a stage in `teachers`, or set "
                "hidden_state_loss=none"
            )
        return inputs.network.load()

    def _module(self, inputs: Inputs, model: Model, imitated: Model | None) -> Module:
        data = TaskData(
            inputs.task,
            model.tokenizer,
            model.max_tokens,
            self.batch_size,
            self.seed,
            transfer=inputs.transfer,
            **inputs.logits,
        )
        module = self.module.build(model, data, self.seed, imitated)
        module.train()  # pretrained checkpoints are loaded in evaluation mode
        return module

    def _fit(
        self,
        trainer: Trainer,
        module: Module,
        inputs: Inputs,
        environment: RankEnvironment | None,
        origin: Origin | None,
    ) -> PeakGrowth:
        folder, ranks = Path(trainer.default_root_dir), trainer.world_size
        checkpoint = find_checkpoint(folder)
        others: AbstractContextManager[None] = nullcontext()
        if environment is not None and origin is not None:
            others = started_ranks(environment, ranks, origin, inputs, folder, checkpoint)
        elif ranks > 1:
            raise ConfigError(f"a stage on {ranks} devices must be given its origin, got none")
        try:
            with others, PeakGrowth() as memory:
                trainer.fit(module, datamodule=module.data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            raise KeyboardInterrupt from None  # Lightning turns it into SystemExit
        return memory

    def _trainer(
        self,
        folder: Path,
        logger: Logger | None,
        first: Sequence[Callback],
        environment: RankEnvironment | None,
        module: Module,
    ) -> Trainer:
        callbacks = [*first, *(self.callbacks or {}).values()]
        try:
            return self.trainer(
                default_root_dir=folder,
                max_epochs=self.epochs,
                callbacks=callbacks,
                logger=logger or False,
                precision=self.precision,
                accumulate_grad_batches=self.accumulate,
                gradient_clip_val=self.clip,
                num_sanity_val_steps=0,
                # Without one of ours Lightning adds its own, which pickles into the artifact's folder.
                enable_checkpointing=any(isinstance(own, Checkpoint) for own in callbacks),
                enable_model_summary=False,
                **self._placement(environment, module),
            )
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise ConfigError(f"trainer, precision and clip must suit this machine and Lightning: {error}") from error

    def _placement(self, environment: RankEnvironment | None, module: Module) -> dict[str, Any]:
        """Return the arguments of the trainer that say where it trains, besides its own settings."""
        if environment is not None:
            strategy = DDPStrategy(cluster_environment=environment, find_unused_parameters=module.trains_partly)
            return {"strategy": strategy, "use_distributed_sampler": False}  # `RankCollate` deals documents
        if not self.distributed:
            return {}
        devices = self._placed.get("devices")
        return {"strategy": "auto", "devices": [devices[0]] if isinstance(devices, list | tuple) else 1}

    @property
    def _placed(self) -> Mapping[str, Any]:
        """The settings of the trainer: Hydra's partial, and what was added to it."""
        found: dict[str, Any] = {}
        trainer: Any = self.trainer
        while isinstance(trainer, partial):
            found, trainer = {**trainer.keywords, **found}, trainer.func
        return found

    @property
    def distributed(self) -> bool:
        """Whether it trains in a process for each of several devices."""
        return is_distributed(self._placed)

    def _finish(self, data: TaskData, model: Model, folder: Path) -> dict[str, Any]:
        artifacts.save(model, folder)
        logits = {split: _logits(model, data, split) for split in ("validation", "test")}
        artifacts.save_predictions(folder, logits)
        serving = data.task.inference_config(logits["validation"], model.max_tokens, reads_alone(model.network))
        serving.save(folder)
        callbacks = (self.callbacks or {}).items()
        methods = {name: own.report().to_json() for name, own in callbacks if isinstance(own, StageCallback)}
        return {
            "methods": methods,
            "reads": data.task.read_share(model.tokenizer, serving.max_tokens),
            "parameters": count_parameters(model.network),
            "nonzero": count_nonzero(model.network),
            "bytes": folder_bytes(folder, artifacts.NOT_DEPLOYED),
            "peak_mib": measure_peak_mib(folder, min(model.max_tokens, data.task.max_tokens)),
            "device": str(next(model.network.parameters()).device),
            "precision": self.precision,
            "versions": {m.__name__: m.__version__ for m in (torch, transformers, lightning)},
        }


@final
class _Clock(Callback):
    """Seconds of training: of this attempt, and of earlier ones up to the checkpoint that it continues."""

    def __init__(self) -> None:
        self._watch, self._before, self.attempts = Stopwatch(), 0.0, 1

    def seconds(self) -> float:
        """Return the seconds until now."""
        return self._before + self._watch.seconds()

    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook."""
        return {"seconds": self.seconds(), "attempts": self.attempts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self._before, self.attempts = state_dict["seconds"], state_dict["attempts"] + 1


def _present(logits: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {name: own for name, own in logits.items() if own is not None}


def _logits(model: Model, data: TaskData, split: str) -> Float[np.ndarray, "documents outputs"]:
    size = 1 if reads_alone(model.network) else 32
    return predict(model.network, data.loader(data.task.examples.members(split), size), data.task.long_notes)[1]


def measure_peak_mib(folder: Path, tokens: int) -> float | None:
    """Return the MiB that a process without other models needs to load the model and read a row of `tokens` tokens.

    None, with a warning, where it did not answer.
    """
    return _METER.measure(folder, tokens, foreign_packages(folder))
