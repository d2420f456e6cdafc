"""Base class of pruning by masks: rank single weights, keep the lowest at zero during training, bake the zeros in."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.base import Compression
from callbacks.prune.base import check_ratio
from callbacks.schedules.base import Schedule
from clinlm.compression.masks import Mask, Scope, bake, competitors, remove_lowest
from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.model import Model
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import Sparsity


class MaskPruning(Compression):
    """Unstructured pruning of all linear weights of the encoder; embeddings, pooling and head are not pruned.

    Subclasses are final and define only scores and scope. In every group of competing weights, exactly round(ratio x
    size) end at zero, among equals the first stay; weights that were zero before count, and stay zero.

    Masks act from `prepare` on and grow with the schedule. A masked weight does not return (`Mask.barred`). Masks are
    baked in at the end of training, before adapters merge. An update by an adapter such as LoRA is masked as its weight
    is, and weights are ranked without it. A gradual schedule must be complete by then: the remaining pruning in one
    step would silently cost quality, so training that stops earlier, or restores an earlier epoch, is an error.

    Args:
        ratio: share of the weights to remove, in (0, 1).
        scope: which weights compete.
        schedule: share of the ratio over the training.
    """

    technique: ClassVar[str] = "pruning"
    counts_zeros: ClassVar[bool] = True

    def __init__(self, ratio: float, scope: Scope, schedule: Schedule) -> None:
        check_ratio(ratio)
        self.ratio, self.scope, self.schedule = ratio, scope, schedule
        self.linears: dict[str, nn.Linear] = {}
        self.masks: list[Mask] = []
        self._share = 0.0
        self._promised: list[int] = []
        self._thresholds: list[float | None] = []
        self._rows: list[Sparsity] = []

    @property
    def needs_training(self) -> bool:
        """See `StageCallback.needs_training`: true for schedules that start below 1."""
        return self.schedule.share(0.0) < 1

    @abstractmethod
    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        """Return the finite scores of all weights, one tensor for each of `self.linears`; larger is better."""

    def mask(self, alive: Bool[Tensor, "outputs inputs"]) -> Mask:
        """Return the parametrization for one weight."""
        return Mask(alive)

    @final
    def dry_run(self, model: Model) -> None:
        self._find_linears(model)
        self._attach()

    @final
    def dry_finish(self, model: Model) -> None:
        self.on_fit_end(None, None)
        self._check_in_place(model)

    @final
    def prepare(self, module: Module) -> None:
        self._find_linears(module.model)
        self._rows = []
        zeros = self._groups(torch.cat([~mask.alive.flatten() for mask in self.masks]))
        self._promised = [int(group.sum(-1).clamp(min=self._final_count(group)).sum()) for group in zeros]
        self._thresholds = [None] * len(zeros)
        if sum(self._promised) == sum(int(group.sum()) for group in zeros):
            raise ModelError(
                f"a compression method must change the network; {type(self).__name__} would leave every tensor as it "
                f"was (ratio={self.ratio:g} adds no zero); change its settings or remove the stage"
            )
        self._attach()
        self._share = 0.0
        self.step(module, 0.0)

    @final
    def step(self, module: Module, progress: float) -> None:
        share = self.schedule.share(progress)
        if share > self._share:
            self._share = share
            removed = remove_lowest(self.masks, self.scores(module), self.scope, share * self.ratio)
            for number, threshold in removed.items():
                self._thresholds[number] = threshold

    @final
    @torch.no_grad()
    def on_fit_end(self, trainer: Trainer | None, pl_module: LightningModule | None) -> None:
        """Remove the masks before the adapter merges: an update added to a parametrized weight would be lost."""
        for linear, mask in zip(self.linears.values(), self.masks, strict=True):
            # Recovery in the same stage masks the same weights: the last one registered removes all.
            if parametrize.is_parametrized(linear, "weight") and _last(linear) is mask:
                parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)

    @final
    @torch.no_grad()
    def finalize(self, module: Module) -> None:
        """Zero what an adapter added, and check the number of zeros."""
        if self._share < 1:
            raise ModelError(
                f"pruning must reach its final ratio {self.ratio:g}, training stopped at {self._share:.1%} of it; "
                "remove early stopping from the stage, give it more epochs, or let the schedule end earlier "
                "(schedule.end)"
            )
        self._check_in_place(module.model)
        zeros = []
        for (name, linear), mask in zip(self.linears.items(), self.masks, strict=True):
            if parametrize.is_parametrized(linear):
                raise ModelError(f"masked weights must be plain at the end, another method holds {name}; list it first")
            zeros.append(bake(linear.weight, mask.alive.to(linear.weight.device)).flatten())
        groups = self._groups(torch.cat(zeros))
        found = [int(group.sum()) for group in groups]
        complete = all(bool((group.sum(-1) >= self._final_count(group)).all()) for group in groups)
        if found != self._promised or not complete:
            raise ModelError(
                f"pruning must leave {sum(self._promised)} zeros, got {sum(found)}; remove from the stage what else "
                "changes weights: keep_best (an epoch before the schedule's end), another method"
            )
        self._rows = self._report(zeros)

    @final
    def report(self) -> MethodReport:
        """Return weights, zeros and their share for every linear layer.

        Where a layer or the network competes as a whole, also the largest removed score (`threshold`); where m
        neighbours do, the left-over weights at the ends of rows, which are not pruned (`dense_tail`).
        """
        return MethodReport(tuple(self._rows))

    @final
    def state_dict(self) -> dict[str, Any]:
        """Return what `last.ckpt` needs besides the masks, which are buffers of the network."""
        return {"share": self._share, "thresholds": self._thresholds}

    @final
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._share, self._thresholds = state_dict["share"], list(state_dict["thresholds"])

    def _find_linears(self, model: Model) -> None:
        structure.check_trainable(model.network)
        modules = model.network.body.named_modules()
        self.linears = {name: linear for name, linear in modules if isinstance(linear, nn.Linear)}
        if not self.linears:
            raise ModelError(f"masks need linear layers, {type(model.network.body).__name__} has none")
        self.masks = [self.mask(linear.weight.detach() != 0) for linear in self.linears.values()]

    def _attach(self) -> None:
        for linear, mask in zip(self.linears.values(), self.masks, strict=True):
            parametrize.register_parametrization(linear, "weight", mask)

    def _check_in_place(self, model: Model) -> None:
        modules = dict(model.network.body.named_modules())
        lost = [name for name, linear in self.linears.items() if modules.get(name) is not linear]
        if lost:
            raise ModelError(
                f"masked linear layers must stay in place, another method of the stage replaced {lost[0]}; list "
                f"methods that change shapes before {type(self).__name__}, or give it its own stage"
            )

    def _final_count(self, group: Tensor) -> int:
        return round(self.ratio * group.shape[-1])

    def _groups(self, flat: Tensor) -> list[Tensor]:
        return competitors(flat, [mask.alive.shape for mask in self.masks], self.scope)

    def _report(self, zeros: Sequence[Tensor]) -> list[Sparsity]:
        rows = []
        for number, ((name, linear), zero) in enumerate(zip(self.linears.items(), zeros, strict=True)):
            threshold, dense_tail = None, None
            if self.scope in ("global", "layer"):
                threshold = self._thresholds[number if self.scope == "layer" else 0]
            elif isinstance(self.scope, int):
                dense_tail = linear.in_features % self.scope * linear.out_features
            weights, count = zero.numel(), int(zero.sum())
            rows.append(Sparsity(name, weights, count, count / weights, threshold, dense_tail))
        return rows


def _last(linear: nn.Linear) -> nn.Module:
    return list(linear.get_submodule("parametrizations.weight").children())[-1]
