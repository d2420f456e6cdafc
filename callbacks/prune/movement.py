"""Movement pruning: single weights by whether training moves them away from zero."""

from typing import Any, Literal, final

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.prune.masks import Mask, MaskPruning
from callbacks.prune.settings import check_scope
from callbacks.schedules.base import Schedule
from clinlm.training.modules.base import Module


@final
class Movement(MaskPruning):
    """Keep the weights that fine-tuning moves away from zero, remove those that it moves towards zero.

    Source    Sanh et al. 2020, "Movement pruning", arXiv:2005.07683, hard movement pruning, equation 6.
    Names     our `ratio` is what they remove; our `scope=global` is the `global_topk` of their code.
    Changes   linear weights of the encoder: exact zeros; shapes stay, and so does the size of a dense file.
    Needs     a stage that trains, with a schedule that begins late enough for scores to mean something.
    Cost      a float and a byte a weight while it trains; with LoRA also the gradients of the frozen weights.
    Departs   scores add up -dL/dW' x W of every backward pass, masked weights included: plain SGD on the scores, of
              which only ranks matter. With `accumulate` that is the gradient of the whole step, before `clip`.
              Masks change only as the schedule rises, when weights may return; at its end they are fixed.
    Clashes   as `Unstructured`; one-shot pruning (there is nothing to rank yet); precision 16-mixed, whose scaled
              gradients are no summands. On several devices the scores are those of the first one's documents.

    Args:
        ratio, schedule: see `MaskPruning`.
        scope: `global`, all weights compete; `layer`, those of one linear do.
    """

    def __init__(self, ratio: float = 0.5, scope: Literal["global", "layer"] = "layer", *, schedule: Schedule) -> None:
        check_scope(scope)
        if schedule.share(0.0) > 0:
            raise ValueError(
                f"movement is learnt in training; {type(schedule).__name__} prunes before it; set prune.schedule to a "
                "gradual one"
            )
        super().__init__(ratio, scope, schedule)

    def mask(self, alive: Bool[Tensor, "outputs inputs"]) -> Mask:
        """See `MaskPruning.mask`."""
        return _Learnt(alive)

    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        """See `MaskPruning.scores`."""
        return [mask.get_buffer("scores") for mask in self.masks]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        if trainer.scaler is not None:
            raise ValueError(
                f"movement adds up gradients; precision={trainer.precision} scales them by a number that changes; "
                "set precision=bf16-mixed or 32-true"
            )


class _Learnt(Mask):
    """A mask that watches the gradients of what it lets through, and of what it does not."""

    scores: Tensor
    start: Tensor

    def __init__(self, alive: Bool[Tensor, "outputs inputs"]) -> None:
        super().__init__(alive)
        self.register_buffer("scores", torch.zeros(alive.shape, device=alive.device))
        self.register_buffer("start", ~alive, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """See `Mask.forward`."""
        # The last argument asks for a gradient, so that a frozen weight (LoRA) has a backward pass too.
        asks = torch.zeros((), requires_grad=True)
        masked: Tensor = _Watched.apply(weight, self.alive, self.scores, asks)  # type: ignore[no-untyped-call]
        return masked

    def barred(self) -> Bool[Tensor, "outputs inputs"]:
        """See `Mask.barred`: only what was zero at the start."""
        return self.start


class _Watched(torch.autograd.Function):
    """weight x mask; on the way back the weight gets the masked gradient, the scores -gradient x weight everywhere."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, alive: Tensor, scores: Tensor, _: Tensor) -> Tensor:
        ctx.save_for_backward(weight, alive)
        ctx.scores = scores
        return weight * alive

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        weight, alive = ctx.saved_tensors
        (gradient,) = gradients
        ctx.scores.addcmul_(gradient, weight, value=-1.0)
        return gradient * alive, None, None, None
