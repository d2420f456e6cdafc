"""Rank-stabilised low-rank adaptation."""

from collections.abc import Sequence
from typing import final

from clinlm.models.adapters.low_rank import ATTENTION, LowRank


@final
class Rslora(LowRank):
    """Low-rank adaptation whose update is scaled by alpha / sqrt(r), so that a higher rank does not learn more slowly.

    Source: Kalajdzievski 2023, "A rank stabilization scaling factor for fine-tuning with LoRA", arXiv:2312.03732;
    computed by peft. Arguments as `LowRank`.
    """

    variant = {"use_rslora": True}

    def __init__(
        self,
        r: int = 32,
        alpha: int = 16,
        dropout: float = 0.05,
        targets: Sequence[str] = ATTENTION,
        learning_rate_factor: float = 1.0,
    ) -> None:
        super().__init__(r, alpha, dropout, targets, learning_rate_factor)
