"""Checks that the files of a deployment are as small as its artifact promises: no compression in name only."""

from collections import Counter
from pathlib import Path

from clinlm.config.errors import ModelError
from clinlm.engines.base import Engine
from clinlm.engines.torch import integer_products, network_matrices, without_constants
from clinlm.models.layers.base import Matrix
from clinlm.models.model import Network

_MORE, _GRAPH = 1.25, 2**20


def check_export(network: Network, engine: Engine, folder: Path) -> None:
    """Compare a network with its export.

    Every weight matrix must be in the files with both its sides, at most as many bits per weight and at most as many
    weights other than 0; and the engine must report at least as many integer products. This refuses fake quantisation
    (integers stored or computed as floats) and pruning that exists only in a mask.

    Raises:
        ModelError: the export has less.
    """
    layers = without_constants(network)
    expected, found = network_matrices(layers), engine.matrices(folder)
    sizes = Counter(matrix.shape for matrix in found)
    for shape, wanted in Counter(matrix.shape for matrix in expected).items():
        if sizes[shape] < wanted:
            raise ModelError(
                f"{engine.name} must store {wanted} matrices of {shape[0]} x {shape[1]}, got {sizes[shape]}; use "
                "another engine"
            )
        ours = [matrix for matrix in expected if matrix.shape == shape]
        theirs = [matrix for matrix in found if matrix.shape == shape]
        _check_bits(engine, shape, ours, theirs)
        _check_zeros(engine, shape, ours, theirs)
    wanted, integers = integer_products(layers), engine.integer_products(folder)
    if integers < wanted:
        raise ModelError(
            f"{engine.name} must compute {wanted} INT8 layers in integers, got {integers}; use another engine, or "
            "another quantize= (for OpenVINO static or qat)"
        )


def check_bytes(engine: Engine, artifact: int, deployed: int) -> None:
    """Compare the bytes of a deployment with those of its artifact; this finds tables that became floats again.

    A graph writes out what an artifact leaves to code: 25 % and 1 MiB more are allowed.

    Raises:
        ModelError: there are more.
    """
    limit = artifact * _MORE + _GRAPH
    if deployed > limit:
        raise ModelError(
            f"files of {engine.name} must have at most {limit:,.0f} bytes (the artifact has {artifact:,}), got "
            f"{deployed:,}; use another engine"
        )


def _check_bits(engine: Engine, shape: tuple[int, int], expected: list[Matrix], found: list[Matrix]) -> None:
    ours, theirs = (sorted(matrix.bits for matrix in matrices) for matrices in (expected, found))
    wide = [(bits, own) for bits, own in zip(ours, theirs, strict=False) if own > bits]
    if wide:
        raise ModelError(
            f"{engine.name} must store matrices of {shape[0]} x {shape[1]} in {wide[0][0]} bits per weight, got "
            f"{wide[0][1]} bits in {len(wide)} of them; use another engine"
        )


def _check_zeros(engine: Engine, shape: tuple[int, int], expected: list[Matrix], found: list[Matrix]) -> None:
    ours, theirs = (sorted(matrix.nonzero for matrix in matrices) for matrices in (expected, found))
    if sum(theirs[: len(ours)]) > sum(ours):
        raise ModelError(
            f"{engine.name} must store at most {sum(ours)} weights other than 0 in matrices of {shape[0]} x "
            f"{shape[1]}, got {sum(theirs)}; use another engine"
        )
