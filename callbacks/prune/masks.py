"""What pruning by masks shares: rank single weights, hold the worst at zero in training, bake the zeros in."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.base import Compression
from callbacks.prune.settings import check_ratio
from callbacks.schedules.base import Schedule
from clinlm.models import structure
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import Sparsity

Scope = Literal["global", "layer", "row"] | int
"""Which weights compete: all; those of one linear; those of one of its rows (an output); that many neighbours in it."""


class Mask(nn.Module):
    """A parametrization under which a weight is zero where it is not alive, in the forward and the backward pass."""

    alive: Tensor

    def __init__(self, alive: Bool[Tensor, "outputs inputs"]) -> None:
        super().__init__()
        self.register_buffer("alive", alive)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` with zeros where it is not alive."""
        return weight * self.alive

    def barred(self) -> Bool[Tensor, "outputs inputs"]:
        """Return which weights may not come back: all that are gone, for nothing updates them."""
        return ~self.alive


class MaskPruning(Compression):
    """Unstructured pruning of all linear weights of the encoder; embeddings, pooling and head stay whole.

    Subclasses are final and say only what a weight is worth, and which weights compete. Of every group of competitors,
    exactly round(ratio x size) end as zero, ties to the first; weights that were zero before count, and stay zero.

    Masks are in force from `prepare` on, and grow by the schedule. A weight once gone does not return (`Mask.barred`).
    They are baked in at the end of training, before adapters merge; what an adapter such as LoRA learnt in the place of
    a zero is lost then, and weights are ranked without its update. A gradual schedule must have come to its end by
    then: a last leap would cost quality in silence, so training that stops early, or goes back to an epoch before that
    end, raises. Stopping after that end is well.

    Args:
        ratio: share of the weights removed, in (0, 1).
        scope: which weights compete.
        schedule: when.
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
        """See `Compression.needs_training`: with a schedule that begins below its end."""
        return self.schedule.share(0.0) < 1

    @abstractmethod
    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        """Return what every weight is worth, one tensor for each of `self.linears`, finite; larger is better."""

    def mask(self, alive: Bool[Tensor, "outputs inputs"]) -> Mask:
        """Return the parametrization that holds one mask."""
        return Mask(alive)

    @final
    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        structure.check_trainable(module.network)
        modules = module.network.body.named_modules()
        self.linears = {name: linear for name, linear in modules if isinstance(linear, nn.Linear)}
        if not self.linears:
            raise RuntimeError(f"masks need linear layers; {type(module.network.body).__name__} has none")
        self.masks, self._rows = [self.mask(linear.weight.detach() != 0) for linear in self.linears.values()], []
        gone = self._groups(torch.cat([~mask.alive.flatten() for mask in self.masks]))
        self._promised = [int(part.sum(-1).clamp(min=self._count(part, 1.0)).sum()) for part in gone]
        self._thresholds = [None] * len(gone)
        if sum(self._promised) == sum(int(part.sum()) for part in gone):
            raise RuntimeError(
                f"a compression method changes the network; {type(self).__name__} left every tensor as it was "
                f"(ratio={self.ratio:g} asks for no zero that is not there); change its settings or take the stage out"
            )
        for linear, mask in zip(self.linears.values(), self.masks, strict=True):
            parametrize.register_parametrization(linear, "weight", mask)
        self._share = 0.0
        self.step(module, 0.0)

    @final
    def step(self, module: Module, progress: float) -> None:
        """See `Compression.step`."""
        share = self.schedule.share(progress)
        if share > self._share:
            self._share = share
            self._remove(self.scores(module))

    @final
    @torch.no_grad()
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook, before the adapter merges: an update added to a parametrized weight would be lost."""
        for linear, mask in zip(self.linears.values(), self.masks, strict=True):
            # Recovery holds the same weights when it is in the same stage: whoever came last removes for both.
            if parametrize.is_parametrized(linear, "weight") and _last(linear) is mask:
                parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)

    @final
    @torch.no_grad()
    def finalize(self, module: Module) -> None:
        """Cut what an adapter added, and check the promise."""
        if self._share < 1:
            raise RuntimeError(
                f"pruning ends at its final ratio; training stopped at {self._share:.1%} of {self.ratio:g}; take "
                "early stopping out of the stage, give it more epochs, or let the schedule end earlier (schedule.end)"
            )
        there = dict(module.network.body.named_modules())
        gone = [name for name, linear in self.linears.items() if there.get(name) is not linear]
        if gone:
            raise RuntimeError(
                f"masks hold the linear layers they were put on; another method of the stage replaced {gone[0]}; list "
                f"what changes shapes before {type(self).__name__}, or give it a stage of its own"
            )
        zeros = []
        for (name, linear), mask in zip(self.linears.items(), self.masks, strict=True):
            if parametrize.is_parametrized(linear):
                raise RuntimeError(
                    f"masks are baked into plain weights; another method still holds {name}; list it first"
                )
            zeros.append(bake(linear.weight, mask.alive.to(linear.weight.device)).flatten())
        groups = self._groups(torch.cat(zeros))
        found = [int(part.sum()) for part in groups]
        spread = all(bool((part.sum(-1) >= self._count(part, 1.0)).all()) for part in groups)
        if found != self._promised or not spread:
            raise RuntimeError(
                f"pruning promised {sum(self._promised)} zeros among the weights that compete; {sum(found)} are there; "
                "take out of the stage what else changes weights: keep_best (an epoch before the schedule's end), "
                "another method"
            )
        self._rows = self._report(zeros)

    @final
    def report(self) -> MethodReport:
        """Return every linear: its weights, its zeros and their share.

        Where a linear or the network competes as a whole, also the largest score that was removed (`threshold`); where
        m neighbours do, the weights of a ragged end, which stay (`dense_tail`).
        """
        return MethodReport(tuple(self._rows))

    @final
    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook: what `last.ckpt` needs beside the masks, which are buffers of the network."""
        return {"share": self._share, "thresholds": self._thresholds}

    @final
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self._share, self._thresholds = state_dict["share"], list(state_dict["thresholds"])

    @torch.no_grad()
    def _remove(self, scores: Sequence[Tensor]) -> None:
        """Bring every mask to the share in force."""
        worth = torch.cat([score.detach().float().flatten() for score in scores])
        if not bool(worth.isfinite().all()):
            raise RuntimeError("pruning ranks finite scores; some are not; lower the learning rate")
        barred = torch.cat([mask.barred().flatten() for mask in self.masks])
        alive = ~barred
        triples = zip(self._groups(worth), self._groups(barred), self._groups(alive), strict=True)
        for number, (score, bar, stay) in enumerate(triples):
            count = self._count(score, self._share)
            if count and score.numel():
                stay.copy_(survivors(score, bar, count))
                removed = score[~stay & ~bar]
                if len(removed):
                    self._thresholds[number] = float(removed.max())
        sizes = [mask.alive.numel() for mask in self.masks]
        for mask, part in zip(self.masks, torch.split(alive, sizes), strict=True):
            mask.alive.copy_(part.view_as(mask.alive))

    def _count(self, group: Tensor, share: float) -> int:
        return round(share * self.ratio * group.shape[-1])

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


def competitors(flat: Tensor, shapes: Sequence[torch.Size], scope: Scope) -> list[Tensor]:
    """Return views of `flat`, the weights of shapes (outputs, inputs) one after the other.

    Those that compete lie along the last dimension of a view. A ragged end of neighbours is in no view.
    """
    if scope == "global":
        return [flat[None]]
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    if scope == "layer":
        return [part[None] for part in parts]
    tables = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    if scope == "row":
        return tables
    whole = [table.shape[1] // scope for table in tables]
    return [table[:, : n * scope].view(len(table), n, scope) for table, n in zip(tables, whole, strict=True)]


def survivors(
    scores: Float[Tensor, "*groups members"], barred: Bool[Tensor, "*groups members"], count: int
) -> Bool[Tensor, "*groups members"]:
    """Return who stays in every group: all but the barred, and, until `count` are gone, those of the lowest scores.

    Args:
        scores: finite.
        count: at least 1. Of equals, the first stay.
    """
    ranked = scores.masked_fill(barred, -math.inf)
    level = ranked.kthvalue(count, dim=-1, keepdim=True).values
    below, equal = ranked < level, ranked == level
    room = count - below.sum(-1, keepdim=True)
    if not bool((equal.sum(-1, keepdim=True) > room).any()):  # the rule: to count equals takes gigabytes for a BERT
        return ~(below | equal | barred)
    from_the_end = equal.flip(-1).cumsum(-1, dtype=torch.int32).flip(-1)
    return ~(below | (equal & (from_the_end <= room)) | barred)


def bake(
    weight: Float[Tensor, "outputs inputs"], alive: Bool[Tensor, "outputs inputs"]
) -> Bool[Tensor, "outputs inputs"]:
    """Make `weight` exactly zero where it is not alive, and only there; returns where it is zero."""
    weight.masked_fill_(~alive, 0.0)
    # An update may end on 0 by chance, and a zero counts as pruned from here on: the smallest number stands for it.
    weight.masked_fill_(alive & (weight == 0), torch.finfo(weight.dtype).tiny)
    return weight == 0


def _last(linear: nn.Linear) -> nn.Module:
    return list(linear.get_submodule("parametrizations.weight").children())[-1]
