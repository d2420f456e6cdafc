"""Recovery that weighs the subgroups of patients by how badly the model does for them."""

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.base import as_module
from callbacks.recover.finetune import Finetune
from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean
from clinlm.config.ranges import check_at_least
from clinlm.metrics.fairness import UNKNOWN, subgroups
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Objective
from clinlm.training.promises import SubgroupWeight
from clinlm.training.stage_callback import StageCallback

_OTHERS = "others"
_BY_UNIT = ("index", "targets", "teacher_logits", "labelled")


@final
class Fair(StageCallback):
    """Fine-tune after compression as `recover=finetune`, on a loss that weighs subgroups, the worst most.

    The loss of a batch is the weighted mean of the objective in each of its subgroups. All subgroups begin with the
    same weight, however few documents they have; in every step the weight of each grows with its loss. Several
    attributes are averaged.

    Source    Sagawa et al. 2020, "Distributionally robust neural networks for group shifts", arXiv:1911.08731,
              algorithm 1 (group DRO); "clinical edge deployment", which asks for compression that constrains the
              optimisation to equitable performance.
    Names     our `step` is their eta_q.
    Changes   weights; shapes and zeros stay.
    Needs     attributes of patients (`clinlm.metrics.fairness.subgroups`); subgroups of `smallest` training documents,
              the rest, and unknown ones, count as one more subgroup.
    Cost      `epochs` of training; a loss per subgroup and batch.
    Departs   a batch counts the subgroups that it holds, and batches are not drawn by subgroup: they stay those of
              documents of similar length.
    Clashes   tasks of entities, whose units are words.

    Args:
        attributes: names; None for all that make subgroups.
        step: how fast weights follow losses, at least 0; 0 keeps all subgroups alike.
        smallest: training documents of a subgroup of its own, at least 1.
        epochs, learning_rate, head_learning_rate: see `Finetune`.

    Raises:
        ConfigError: a setting out of range; (before training) the task has no such attribute, or none that makes
            subgroups, or is of entities.
    """

    def __init__(
        self,
        attributes: Sequence[str] | None = None,
        step: float = 0.1,
        smallest: int = 30,
        epochs: int = 1,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = None,
    ) -> None:
        if not 0 <= step < math.inf:
            raise ConfigError(f"recover.step must be at least 0 and finite, got {step}")
        check_at_least("recover.smallest", smallest, 1)
        self.attributes, self.step, self.smallest, self.epochs = attributes, step, smallest, epochs
        self._recovery = Finetune(epochs, learning_rate, head_learning_rate)
        self._names: dict[str, list[str]] = {}
        self._members: dict[str, Tensor] = {}
        self._documents: dict[str, list[int]] = {}
        self._weights: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook: as `Finetune`, and the objective of the module becomes that of its subgroups."""
        self._recovery.setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        module = as_module(pl_module)
        self._read(module.task)
        plain = module.objective

        def weighed(logits: Tensor, batch: Batch) -> Tensor:
            if not module.training:
                return plain(logits, batch)
            losses = [self._loss(name, plain, logits, batch) for name in self._names]
            return torch.stack(losses).mean()

        module.objective = weighed

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; see `Finetune`."""
        self._recovery.on_fit_end(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook; see `Finetune`."""
        self._recovery.teardown(trainer, pl_module, stage)

    def report(self) -> MethodReport:
        """Return the weight that every subgroup ended with, and the quality on validation before and after."""
        rows = [
            SubgroupWeight(attribute, name, documents, float(weight))
            for attribute, names in self._names.items()
            for name, documents, weight in zip(names, self._documents[attribute], self._weights[attribute], strict=True)
        ]
        return MethodReport((*rows, *self._recovery.report().rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, which `last.ckpt` needs."""
        return {"weights": {name: own.tolist() for name, own in self._weights.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._weights = {name: torch.tensor(own) for name, own in state_dict["weights"].items()}

    def _loss(self, attribute: str, plain: Objective, logits: Tensor, batch: Batch) -> Tensor:
        """Return the weighted loss of the subgroups of one attribute, after their weights followed their losses."""
        member = self._members[attribute].to(logits.device)[batch["index"]]
        present = torch.unique(member)
        own = []
        for number in present.tolist():
            chosen = member == number
            part = {name: batch[name][chosen] for name in _BY_UNIT if name in batch}
            own.append(plain(logits[chosen], part))
        losses, weights = torch.stack(own), self._weights[attribute]
        places = present.cpu()
        weights[places] *= (self.step * losses.detach().float().cpu()).clamp(max=20).exp()
        weights /= weights.sum()
        share = weights[places].to(losses)
        return (share / share.sum() * losses).sum()

    def _read(self, task: Task) -> None:
        """Find the subgroup of every document."""
        if task.by_word:
            raise ConfigError("recover=fair weighs documents, and this task finds entities; set recover=finetune")
        found, notices = subgroups(task.examples.frame["attributes"])
        wanted = list(found) if self.attributes is None else list(self.attributes)
        unknown = [name for name in wanted if name not in found]
        if unknown or not wanted:
            told = f"got {unknown[0]!r}{did_you_mean(unknown[0], found)}" if unknown else "the corpus has none"
            raise ConfigError(
                f"recover=fair needs attributes that make subgroups ({', '.join(found) or 'none is there'}), {told}; "
                f"{'; '.join(notices) or 'set recover.attributes'}, or recover=finetune"
            )
        train = task.examples.members("train")
        for name in wanted:
            values = found[name]
            own, counts = np.unique(values[train], return_counts=True)
            pairs = zip(own.tolist(), counts.tolist(), strict=True)
            names = [value for value, count in pairs if count >= self.smallest and value != UNKNOWN]
            member = np.array([names.index(value) if value in names else len(names) for value in values.tolist()])
            sizes = np.bincount(member[train], minlength=len(names) + 1).tolist()
            names += [_OTHERS] * bool(sizes[-1])
            self._names[name], self._documents[name] = names, sizes[: len(names)]
            self._members[name] = torch.from_numpy(member)
            self._weights[name] = torch.full((len(names),), 1 / len(names))
