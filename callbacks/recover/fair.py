"""Recovery that weighs the subgroups of patients by how badly the model does for them."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.base import as_module
from callbacks.recover.finetune import Finetune
from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean
from clinlm.config.ranges import check_at_least, check_interval, check_list
from clinlm.metrics.fairness import UNKNOWN, subgroups
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Objective
from clinlm.training.promises import SubgroupWeight
from clinlm.training.stage_callback import StageCallback

_OTHERS = "others"
_BY_UNIT = ("index", "targets", "teacher_logits")


@final
class Fair(StageCallback):
    """Fine-tune after compression as `recover=finetune`, on a loss that weighs subgroups, the worst most.

    The loss of a batch is the weighted mean of the objective in each of its subgroups. All subgroups begin with the
    same weight, however few documents they have; in every step the weight of each grows with its loss, which is that of
    the last batch with it. Several attributes are averaged.

    Source    Sagawa et al. 2020, "Distributionally robust neural networks for group shifts", arXiv:1911.08731,
              algorithm 1 (group DRO); "clinical edge deployment", which asks for compression that constrains the
              optimisation to equitable performance.
    Names     our `step` is their eta_q.
    Changes   weights; shapes and zeros stay.
    Needs     attributes of patients (`clinlm.metrics.fairness.subgroups`); subgroups of `smallest` training documents,
              the rest, and unknown ones, count as one more subgroup.
    Cost      `epochs` of training; a loss per subgroup and batch.
    Departs   theirs draws a subgroup, uniformly, and then documents of it; here batches stay those of documents of
              similar length, and the weights of the subgroups in a batch are scaled to a sum of 1. A subgroup that a
              batch lacks follows its last loss: else those in most batches would win, however low theirs is.
    Clashes   tasks of entities, whose units are words; transfer sets, whose texts have no subgroup.

    Args:
        attributes: names; None for all that make subgroups.
        step: how fast weights follow losses, at least 0; 0 keeps all subgroups alike.
        smallest: training documents of a subgroup of its own, at least 1.
        epochs, learning_rate, head_learning_rate: see `Finetune`.

    Raises:
        ConfigError: a setting out of range; (before training) the task has no such attribute, or none that makes
            subgroups, or is of entities, or the stage trains on a transfer set.
    """

    of_documents: ClassVar[bool] = True  # see `clinlm.cli.preflight`
    of_patients: ClassVar[bool] = True

    def __init__(
        self,
        attributes: Sequence[str] | None = None,
        step: float = 0.1,
        smallest: int = 30,
        epochs: int = 1,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = None,
    ) -> None:
        if attributes is not None:
            check_list("recover.attributes", attributes)
        check_interval("recover.step", step, "[0, inf)")
        check_at_least("recover.smallest", smallest, 1)
        self.attributes, self.step, self.smallest, self.epochs = attributes, step, smallest, epochs
        self._recovery = Finetune(epochs, learning_rate, head_learning_rate)
        self._names: dict[str, list[str]] = {}
        self._members: dict[str, Tensor] = {}
        self._documents: dict[str, list[int]] = {}
        self._logs: dict[str, Tensor] = {}  # of weights, up to a constant
        self._last: dict[str, Tensor] = {}  # losses; NaN before the first

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook: as `Finetune`, and the objective of the module becomes that of its subgroups."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        if module.data.transfer is not None:
            raise ConfigError(
                "recover=fair weighs subgroups of patients, and the texts of a transfer set have none; remove the "
                "stage's `augmentation`, or set recover=finetune"
            )
        self._recovery.setup(trainer, pl_module, stage)
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
            SubgroupWeight(attribute, name, documents, weight)
            for attribute, names in self._names.items()
            for name, documents, weight in zip(
                names, self._documents[attribute], self._logs[attribute].softmax(0).tolist(), strict=True
            )
        ]
        return MethodReport((*rows, *self._recovery.report().rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the logarithms of the weights and the last losses, which `last.ckpt` needs."""
        kept = {"logs": self._logs, "last": self._last}
        return {what: {name: own.tolist() for name, own in found.items()} for what, found in kept.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for what, own in (("logs", self._logs), ("last", self._last)):
            own.update({name: torch.tensor(values) for name, values in state_dict[what].items()})

    def _loss(self, attribute: str, plain: Objective, logits: Tensor, batch: Batch) -> Tensor:
        """Return the weighted loss of the subgroups of one attribute, after their weights followed their losses."""
        member = self._members[attribute].to(logits.device)[batch["index"]]
        present = torch.unique(member)
        own = []
        for number in present.tolist():
            chosen = member == number
            part = {name: batch[name][chosen] for name in _BY_UNIT if name in batch}
            own.append(plain(logits[chosen], part))
        losses, places = torch.stack(own), present.cpu()
        logs, last = self._logs[attribute], self._last[attribute]
        last[places] = losses.detach().float().cpu()
        # A constant for all changes no weight; what was never seen keeps to the mean.
        logs += self.step * (last - last.nanmean()).nan_to_num(0)
        return (logs[places].softmax(0).to(losses) * losses).sum()

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
            self._logs[name], self._last[name] = torch.zeros(len(names)), torch.full((len(names),), torch.nan)
