"""Movement pruning: removes the weights that training moves towards zero."""

from typing import Literal, final

from jaxtyping import Bool, Float
from lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.prune.masks import MaskPruning
from callbacks.schedules.base import Schedule
from clinlm.compression.masks import Mask, MovementMask
from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_choice
from clinlm.training.modules.base import Module


@final
class Movement(MaskPruning):
    """Keep the weights that fine-tuning moves away from zero, remove those that it moves towards zero.

    Source    Sanh et al. 2020, "Movement pruning", arXiv:2005.07683, hard movement pruning, equation 6.
    Names     our `ratio` is what they remove; our `scope=global` is the `global_topk` of their code.
    Changes   linear weights of the encoder: exact zeros; shapes and the size of a dense file do not change.
    Needs     a stage that trains, with a schedule that starts late enough for meaningful scores.
    Cost      a float and a byte per weight while it trains; with LoRA also the gradients of the frozen weights.
    Departs   scores add up -dL/dW' x W of every backward pass, masked weights included: plain SGD on the scores, of
              which only ranks matter. With `accumulate` that is the gradient of the whole step, before `clip`. Masks
              change only while the schedule rises, when weights may return; at its end they are fixed.
    Clashes   as `Unstructured`; one-shot pruning (there are no scores yet); precision 16-mixed, whose scaled gradients
              cannot be summed. On several devices the scores are those of the first one's documents.

    Args:
        ratio, schedule: see `MaskPruning`.
        scope: `global`, all weights compete; `layer`, those of one linear layer do.
    """

    def __init__(self, ratio: float = 0.5, scope: Literal["global", "layer"] = "layer", *, schedule: Schedule) -> None:
        check_choice("prune.scope", scope, ("global", "layer"))
        if schedule.share(0.0) > 0:
            raise ConfigError(
                f"movement pruning needs a gradual prune.schedule, because its scores come from training, got "
                f"{type(schedule).__name__}; set for example schedule=cubic"
            )
        super().__init__(ratio, scope, schedule)

    def mask(self, alive: Bool[Tensor, "outputs inputs"]) -> Mask:
        return MovementMask(alive)

    def scores(self, module: Module) -> list[Float[Tensor, "outputs inputs"]]:
        return [mask.get_buffer("scores") for mask in self.masks]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the precision.

        Raises:
            ConfigError: gradients are scaled.
        """
        if trainer.scaler is not None:
            raise ConfigError(
                f"movement pruning needs unscaled gradients, got precision={trainer.precision}; set "
                "precision=bf16-mixed or 32-true"
            )
