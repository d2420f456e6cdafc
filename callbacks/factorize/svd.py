"""Linear layers as products of two thin ones, by singular value decomposition."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import nn

from callbacks.base import Compression
from clinlm.models import structure
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.model import Edit
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import Rank


@final
class Svd(Compression):
    """Replace linear layers of the encoder by the nearest products of two matrices of a lower rank.

    Source    S1, section III.C, read by its heading (its text has LoRA: `adapter=lora`); Denton et al. 2014,
              arXiv:1404.0736, section 3; Eckart & Young 1936: no matrix of that rank is nearer.
    Names     our `rank` is their k (Denton), r in S1's LoRA.
    Changes   every linear layer named by `targets`: out x in numbers become rank x (out + in), and learn as such.
    Cost      one decomposition a layer: seconds. Accuracy, which a recovery has to bring back.
    Departs   both factors get the square roots of the singular values. A layer whose two factors would not be smaller
              than itself is left, and the report says so.
    Clashes   pruned zeros do not survive a product, and the factors cannot be sliced: cut shapes first, and mask
              weights after.

    Args:
        rank: of every product, at least 1.
        targets: parts of an encoder layer; see `clinlm.models.structure.Layer`.
    """

    technique: ClassVar[str] = "factorization"

    def __init__(self, rank: int = 64, targets: Sequence[str] = structure.LINEARS) -> None:
        if rank < 1:
            raise ValueError(f"factorize.rank is at least 1; got {rank}")
        if isinstance(targets, str) or not targets or (unknown := {*targets} - {*structure.LINEARS}):
            wrong = targets if isinstance(targets, str) or not targets else sorted(unknown)
            raise ValueError(f"factorize.targets is a list out of {list(structure.LINEARS)}; got {wrong!r}")
        self.rank, self.targets = rank, list(targets)
        self._rows: list[Rank] = []

    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        linears = self._linears(module)
        smaller = {name: linear for name, linear in linears.items() if self._smaller(linear)}
        pairs = {name: LowRankLinear.of(linear, self.rank) for name, linear in smaller.items()}
        self._rows = [_row(name, linear, pairs.get(name)) for name, linear in linears.items()]
        if pairs:
            module.model.apply(Edit("clinlm.models.surgery.factorize", {"ranks": dict.fromkeys(pairs, self.rank)}))
        for name, pair in pairs.items():
            module.network.get_submodule(name).load_state_dict(pair.state_dict())

    def report(self) -> MethodReport:
        """Return every linear layer: its rank (none if left whole), relative error of its weight, parameters."""
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        """See `Compression.no_change_reason`."""
        return f" (rank={self.rank}: for none of {len(self._rows)} linear layers are two factors smaller than itself)"

    def _linears(self, module: Module) -> dict[str, nn.Linear]:
        structure.check_trainable(module.network)
        names = [f"body.{names[t]}" for names in structure.linear_names(module.network.body) for t in self.targets]
        found = {name: module.network.get_submodule(name) for name in names}
        done = [name for name, linear in found.items() if not isinstance(linear, nn.Linear)]
        if done:
            raise ValueError(
                f"a linear layer is factorised once; {done[0]} is a {type(found[done[0]]).__name__}; take one of the "
                "two stages out, or set factorize.targets"
            )
        return {name: linear for name, linear in found.items() if isinstance(linear, nn.Linear)}

    def _smaller(self, linear: nn.Linear) -> bool:
        return self.rank * (linear.in_features + linear.out_features) < linear.in_features * linear.out_features


@torch.no_grad()
def relative_error(linear: nn.Linear, pair: LowRankLinear) -> float:
    """Return the Frobenius norm of what is missing in the product over that of the weight, in [0, 1]."""
    weight = linear.weight.double()
    return float(
        (weight - pair.up.weight.double() @ pair.down.weight.double()).norm() / weight.norm().clamp_min(1e-300)
    )


def _row(name: str, linear: nn.Linear, pair: LowRankLinear | None) -> Rank:
    before = sum(parameter.numel() for parameter in linear.parameters())
    if pair is None:
        return Rank(name, None, 0.0, before, before)
    after = sum(parameter.numel() for parameter in pair.parameters())
    return Rank(name, pair.rank, relative_error(linear, pair), before, after)
