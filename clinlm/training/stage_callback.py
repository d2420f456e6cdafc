"""What a stage has to know of a callback before it trains, and what the callback reports afterwards."""

from typing import ClassVar

from lightning import Callback

from clinlm.models.model import Model
from clinlm.training.method_report import MethodReport


class StageCallback(Callback):
    """A Lightning callback that declares its needs. Any other Lightning callback needs nothing and reports nothing."""

    technique: ClassVar[str | None] = None
    """How a gate classifies it: a key of `clinlm.pipeline.gates.TECHNIQUES`; None if it compresses nothing."""

    counts_zeros: ClassVar[bool] = False
    """Whether its `ratio` is a share of all weights, those that are zero already included, so that it has to grow from
    step to step when the stage is repeated. Otherwise every step cuts its share of what is left."""

    needs_teacher: ClassVar[bool] = False
    """Whether it needs a teacher's logits in every batch."""

    needs_plain_layers: ClassVar[bool] = False
    """Whether it works on linear layers in training that no adapter may have wrapped."""

    epochs: int = 0
    """How long it trains where the stage itself has epochs=0."""

    @property
    def needs_training(self) -> bool:
        """Whether it acts during training, so that a stage without epochs is an error."""
        return False

    def dry_run(self, model: Model) -> None:
        """Do to shapes what is done before training, and raise what that would raise.

        Args:
            model: its tensors have shapes and no values (device `meta`), and it has no tokenizer.
        """

    def dry_finish(self, model: Model) -> None:
        """Do to shapes what is done after training; see `dry_run`."""

    def report(self) -> MethodReport:
        """Return what was done, one row a place (a layer, an epoch)."""
        return MethodReport()
