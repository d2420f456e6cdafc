"""Recovery from the labels."""

from typing import final

from callbacks.recover.base import Recovery


@final
class Finetune(Recovery):
    """Fine-tune on the labels, with whatever objective the stage's module has.

    Source    S0, section 2.3: one epoch after pruning.
    Changes   weights; shapes and zeros stay.
    Cost      `epochs` of training.

    Args: see `Recovery`.
    """
