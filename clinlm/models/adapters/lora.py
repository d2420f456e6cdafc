"""Low-rank adaptation."""

from typing import final

from clinlm.models.adapters.low_rank import LowRank


@final
class Lora(LowRank):
    """Low-rank adaptation: the update is scaled by alpha / r.

    Source: Hu et al. 2021, "LoRA", arXiv:2106.09685; computed by peft. Arguments as `LowRank`.
    """
