"""Factorisation of linear layers by singular value decomposition."""

from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn

from callbacks.base import Compression
from clinlm.compression.approximation import low_rank_shrinks, relative_error
from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.ranges import check_at_least, check_list
from clinlm.models import structure
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.model import Edit, Model
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import Rank


@final
class Svd(Compression):
    """Replace linear layers of the encoder by the nearest products of two matrices of a lower rank.

    Source    "five strategies for symptom extraction", section III.C, by its heading (its text describes LoRA:
              `adapter=lora`); Denton et al. 2014, arXiv:1404.0736, section 3; Eckart & Young 1936: no matrix of that
              rank is nearer.
    Names     our `rank` is their k (Denton), r in the LoRA of "five strategies".
    Changes   every linear layer in `targets`: outputs x inputs numbers become rank x (outputs + inputs) trainable ones.
    Cost      one decomposition per layer: seconds. Quality, which a recovery has to restore.
    Departs   both factors get the square roots of the singular values. A layer whose factors would not be smaller than
              itself is left whole, and reported so.
    Clashes   zeros of masks do not survive a product, and factors cannot be sliced: cut shapes before, and mask weights
              after.

    Args:
        rank: of every product, at least 1.
        targets: parts of an encoder layer; see `clinlm.models.structure.Layer`.

    Raises:
        ConfigError: a setting out of range.
        ModelError: (in `prepare`) a target is factorised already, or has integer weights.
    """

    technique: ClassVar[str] = "factorization"

    def __init__(self, rank: int = 64, targets: Sequence[str] = structure.LINEARS) -> None:
        check_at_least("factorize.rank", rank, 1)
        check_list("factorize.targets", targets)
        if not targets or not {*targets} <= {*structure.LINEARS}:
            raise ConfigError(f"factorize.targets must be a list out of {list(structure.LINEARS)}, got {list(targets)}")
        self.rank, self.targets = rank, list(targets)
        self._rows: list[Rank] = []

    def dry_run(self, model: Model) -> None:
        smaller = [name for name, linear in self._linears(model).items() if low_rank_shrinks(linear, self.rank)]
        if smaller:
            model.apply(Edit("clinlm.models.surgery.factorize", {"ranks": dict.fromkeys(smaller, self.rank)}))

    def prepare(self, module: Module) -> None:
        linears = self._linears(module.model)
        smaller = {name: linear for name, linear in linears.items() if low_rank_shrinks(linear, self.rank)}
        pairs = {name: LowRankLinear.of(linear, self.rank) for name, linear in smaller.items()}
        self._rows = [_row(name, linear, pairs.get(name)) for name, linear in linears.items()]
        if pairs:
            module.model.apply(Edit("clinlm.models.surgery.factorize", {"ranks": dict.fromkeys(pairs, self.rank)}))
        for name, pair in pairs.items():
            module.network.get_submodule(name).load_state_dict(pair.state_dict())

    def report(self) -> MethodReport:
        """Return for every linear layer its rank (None if left whole), relative error of its weight, and parameters."""
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        return f" (rank={self.rank}: none of {len(self._rows)} linear layers is larger than its two factors)"

    def _linears(self, model: Model) -> dict[str, nn.Linear]:
        structure.check_trainable(model.network)
        layers = structure.linear_names(model.network.body)
        names = [f"body.{layer[target]}" for layer in layers for target in self.targets if target in layer]
        found = {name: model.network.get_submodule(name) for name in names}
        other = [name for name, linear in found.items() if not isinstance(linear, nn.Linear)]
        if other:
            raise ModelError(
                f"layers to factorise must be linear, {other[0]} is a {type(found[other[0]]).__name__}; remove one of "
                "the stages that factorise it, or set factorize.targets"
            )
        return {name: linear for name, linear in found.items() if isinstance(linear, nn.Linear)}


def _row(name: str, linear: nn.Linear, pair: LowRankLinear | None) -> Rank:
    before = sum(parameter.numel() for parameter in linear.parameters())
    if pair is None:
        return Rank(name, None, 0.0, before, before)
    after = sum(parameter.numel() for parameter in pair.parameters())
    product = pair.up.weight.double() @ pair.down.weight.double()
    return Rank(name, pair.rank, relative_error(linear.weight, product), before, after)
