"""What an artifact claims of its size, held against the files that are deployed: no compression in name only."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

from torch import nn

from clinlm.engines.base import Engine
from clinlm.engines.matrix import Matrix
from clinlm.engines.torch import integer_layers, network_matrices

_MORE, _GRAPH = 1.25, 2**20


@final
@dataclass(frozen=True)
class Claim:
    """Widths, bits and zeros of all matrices of a network, and how many of its products are of integers.

    Attributes:
        matrices: one an entry.
        integer_products: layers that multiply in integers.
    """

    matrices: tuple[Matrix, ...]
    integer_products: int

    @classmethod
    def of(cls, network: nn.Module) -> Self:
        """Return what `network` claims."""
        return cls(tuple(network_matrices(network)), integer_layers(network))

    def check(self, engine: Engine, folder: Path) -> None:
        """Hold the claim against the files of an engine.

        Every matrix must stand in the files with its two sides, in no more bits a weight, and with no more weights that
        are not 0; and the engine must say of itself that it multiplies in integers as often as claimed. Fake
        quantisation (integers kept, or computed, as floats) and widths that exist in a mask only do not pass.

        Raises:
            RuntimeError: something claimed is not there.
        """
        found = engine.matrices(folder)
        there = Counter(one.shape for one in found)
        for shape, wanted in Counter(one.shape for one in self.matrices).items():
            if there[shape] < wanted:
                raise RuntimeError(
                    f"a deployment has the widths that its artifact claims; {engine.name} holds {there[shape]} of "
                    f"{wanted} matrices of {shape[0]} x {shape[1]}"
                )
            claims = [one for one in self.matrices if one.shape == shape]
            held = [one for one in found if one.shape == shape]
            _check_bits(engine, shape, claims, held)
            _check_zeros(engine, shape, claims, held)
        integers = engine.integer_products(folder)
        if integers < self.integer_products:
            raise RuntimeError(
                f"INT8 layers multiply in integers; {engine.name} does so in {integers} of {self.integer_products} "
                "products; choose another engine, or another way to quantise (OpenVINO: quantize=static or qat)"
            )


def check_bytes(engine: Engine, claimed: int, held: int) -> None:
    """Hold the bytes of a deployment against those of its artifact: tables that became floats again show here.

    A graph spells out what an artifact leaves to code: up to 1 MiB, and a quarter, may come on top.

    Raises:
        RuntimeError: there are more.
    """
    if held > claimed * _MORE + _GRAPH:
        raise RuntimeError(
            f"a deployment is about as small as its artifact; {engine.name} holds {held:,} bytes of files for "
            f"{claimed:,}; choose another engine"
        )


def _check_bits(engine: Engine, shape: tuple[int, int], claims: list[Matrix], held: list[Matrix]) -> None:
    claimed, found = (sorted(one.bits for one in matrices) for matrices in (claims, held))
    wide = [(bits, own) for bits, own in zip(claimed, found, strict=False) if own > bits]
    if wide:
        raise RuntimeError(
            f"a deployment stores weights in the bits that its artifact claims; {engine.name} stores {len(wide)} "
            f"matrices of {shape[0]} x {shape[1]} in {wide[0][1]} bits instead of {wide[0][0]}"
        )


def _check_zeros(engine: Engine, shape: tuple[int, int], claims: list[Matrix], held: list[Matrix]) -> None:
    claimed, found = (sorted(one.nonzero for one in matrices) for matrices in (claims, held))
    if sum(found[: len(claimed)]) > sum(claimed):
        raise RuntimeError(
            f"a deployment has the zeros that its artifact claims; {engine.name} has {sum(found)} weights other than 0 "
            f"in matrices of {shape[0]} x {shape[1]}, instead of {sum(claimed)}"
        )
