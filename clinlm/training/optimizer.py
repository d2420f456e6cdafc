"""AdamW with a learning rate for the body, one for the head, warm-up and decay."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, final

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from clinlm.config.errors import ConfigError
from clinlm.models.model import Network


@final
@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with a schedule; biases and norms do not decay.

    Attributes:
        learning_rate: peak, of the body.
        head_learning_rate: peak, of pooling, head and trainable parts outside the network, which all start untrained;
            None for the body's.
        weight_decay: decoupled.
        warmup: share of all steps in which the rate rises linearly from zero, in [0, 1).
        decay: from the peak to zero by `linear` or `cosine` (with warm-up, the one-cycle shape), or `constant`.
    """

    learning_rate: float = 2e-4
    head_learning_rate: float | None = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    decay: Literal["linear", "cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        for name, rate in (("learning_rate", self.learning_rate), ("head_learning_rate", self.head_learning_rate)):
            if rate is not None and not 0 < rate < math.inf:
                raise ConfigError(f"optimizer.{name} must be positive and finite, got {rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"optimizer.weight_decay must be at least 0 and finite, got {self.weight_decay}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"optimizer.warmup must be in [0, 1), a share of the steps, got {self.warmup}")
        if self.decay not in ("linear", "cosine", "constant"):
            raise ConfigError(f"optimizer.decay must be linear, cosine or constant, got {self.decay!r}")

    def at(self, learning_rate: float, head_learning_rate: float | None) -> Self:
        """Return the same settings with other peaks."""
        return replace(self, learning_rate=learning_rate, head_learning_rate=head_learning_rate)

    def multiplied(self, factor: float) -> Self:
        """Return the same settings with the peak of the body multiplied, and that of the head as it is."""
        head = self.learning_rate if self.head_learning_rate is None else self.head_learning_rate
        return self.at(factor * self.learning_rate, head)

    def factor(self, step: int, steps: int) -> float:
        """Return the share of the peak at `step` of `steps`, in [0, 1]."""
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / rising
        done = min(1.0, (step - rising) / max(1, steps - rising))
        return {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[self.decay]

    def build(self, network: Network, steps: int, extra: Iterable[nn.Parameter] = ()) -> tuple[Optimizer, LambdaLR]:
        """Return optimizer and schedule over `steps` optimizer steps, of the weights that need a gradient.

        Args:
            extra: trainable parameters outside the network.
        """
        head_rate = self.learning_rate if self.head_learning_rate is None else self.head_learning_rate
        extra = list(extra)
        head = {id(p) for p in (*network.pooling.parameters(), *network.head.parameters(), *extra)}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in (p for p in (*network.parameters(), *extra) if p.requires_grad):
            rate = head_rate if id(parameter) in head else self.learning_rate
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        settings: list[dict[str, Any]] = [{"params": p, "lr": r, "weight_decay": d} for (r, d), p in groups.items()]
        optimizer = torch.optim.AdamW(settings, fused=True)
        # Otherwise Lightning refuses to clip gradients in mixed precision, as a fused step could unscale float16
        # gradients itself. With this it gets unscaled ones, as any other optimizer.
        optimizer._step_supports_amp_scaling = False
        return optimizer, LambdaLR(optimizer, lambda step: self.factor(step, steps))
