"""Adaptive budget allocation of low-rank updates."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import torch
from peft import AdaLoraConfig, AdaLoraModel, PeftConfig
from torch import Tensor

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_at_least, check_interval
from clinlm.models.adapters.low_rank import ATTENTION, LowRank
from clinlm.models.model import Network

_SUMS = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""Of the importances of all weights, in peft's allocator."""


@final
class Adalora(LowRank):
    """Low-rank adaptation that shares out ranks: updates start at rank `start_r` and are cut to rank `r` on average.

    Source: Zhang et al. 2023, "AdaLoRA", arXiv:2303.10512; computed by peft.

    Args:
        r: average rank at the end, at least 1.
        alpha, dropout, targets, learning_rate_factor: see `LowRank`.
        start_r: rank of every update at the start, more than `r`.
        warmup: share of the steps before ranks are cut.
        cooldown: share of the steps after; less than 1 together with `warmup`.
        every: steps between two cuts, at least 1.
        orthogonality: weight of the penalty that keeps singular vectors orthogonal.

    Raises:
        ConfigError: see `Tuner`.
    """

    kind = AdaLoraModel

    def __init__(
        self,
        r: int = 32,
        alpha: int = 64,
        dropout: float = 0.05,
        targets: Sequence[str] = ATTENTION,
        learning_rate_factor: float = 1.0,
        start_r: int = 48,
        warmup: float = 0.1,
        cooldown: float = 0.4,
        every: int = 1,
        orthogonality: float = 0.1,
    ) -> None:
        super().__init__(r, alpha, dropout, targets, learning_rate_factor)
        if start_r <= r:
            raise ConfigError(f"adapter.start_r must be more than adapter.r, got {start_r} and {r}")
        check_at_least("adapter.every", every, 1)
        check_at_least("adapter.orthogonality", orthogonality, 0)
        for name, share in (("warmup", warmup), ("cooldown", cooldown)):
            check_interval(f"adapter.{name}", share, "[0, 1)")
        if warmup + cooldown >= 1:
            raise ConfigError(
                f"adapter.warmup and adapter.cooldown must be less than 1 together, got {warmup} and {cooldown}"
            )
        self.start_r, self.warmup, self.cooldown = start_r, warmup, cooldown
        self.every, self.orthogonality = every, orthogonality

    def config(self, names: Mapping[str, Sequence[str]]) -> PeftConfig:
        return AdaLoraConfig(
            target_r=self.r,
            init_r=self.start_r,
            deltaT=self.every,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=[name for matches in names.values() for name in matches],
            total_step=1,  # not known yet: see `schedule`
        )

    def schedule(self, network: Network, steps: int) -> None:
        config = _tuner(network).rankallocator.peft_config
        config.total_step, config.tinit, config.tfinal = steps, int(self.warmup * steps), int(self.cooldown * steps)

    def penalty(self, network: Network) -> Tensor:
        factors = [(name, p) for name, p in network.body.named_parameters() if ".lora_A." in name or ".lora_B." in name]
        products = [p @ p.T if ".lora_A." in name else p.T @ p for name, p in factors]
        distances = [(product - torch.eye(len(product), device=product.device)).norm() for product in products]
        return self.orthogonality * torch.stack(distances).mean()

    def step(self, network: Network, step: int) -> None:
        tuner = _tuner(network)
        device = next(network.parameters()).device  # a checkpoint is restored before the network is moved
        for name in _SUMS:
            sums = getattr(tuner.rankallocator, name)
            setattr(tuner.rankallocator, name, {key: value.to(device) for key, value in sums.items()})
        tuner.update_and_allocate(step)

    def state(self, network: Network) -> dict[str, Any]:
        allocator = _tuner(network).rankallocator
        sums = {name: dict(getattr(allocator, name)) for name in _SUMS}
        return sums | {"rank_pattern": allocator.peft_config.rank_pattern}

    def restore(self, network: Network, state: dict[str, Any]) -> None:
        allocator = _tuner(network).rankallocator
        for name in _SUMS:
            setattr(allocator, name, dict(state[name]))
        allocator.peft_config.rank_pattern = state["rank_pattern"]


def _tuner(network: Network) -> Any:
    return cast(Any, network.body)
