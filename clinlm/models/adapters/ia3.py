"""Infused adapter by inhibiting and amplifying inner activations."""

from collections.abc import Mapping, Sequence
from typing import final

from peft import IA3Config, IA3Model, PeftConfig

from clinlm.config.ranges import check_list
from clinlm.models.adapters.tuner import Tuner


@final
class Ia3(Tuner):
    """Learned factors of the keys, of the values, and of the FFN units. Zeros of a weight stay zero by themselves.

    Source: Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning",
    arXiv:2205.05638; computed by peft.

    Args:
        targets: whose outputs are scaled; see `Tuner`.
        inputs: the linear layers whose inputs are scaled; see `Tuner`.
        learning_rate_factor: see `Adapter`; the paper's rate is 3e-3.

    Raises:
        ConfigError: see `Tuner`.
    """

    kind = IA3Model

    def __init__(
        self,
        targets: Sequence[str] = ("key", "value"),
        inputs: Sequence[str] = ("down",),
        learning_rate_factor: float = 20.0,
    ) -> None:
        check_list("adapter.inputs", inputs)
        super().__init__([*targets, *inputs], learning_rate_factor)
        self.inputs = list(inputs)

    def config(self, names: Mapping[str, Sequence[str]]) -> PeftConfig:
        scaled = [name for target in self.inputs for name in names[target]]
        modules = [name for matches in names.values() for name in matches]
        return IA3Config(target_modules=modules, feedforward_modules=scaled)
