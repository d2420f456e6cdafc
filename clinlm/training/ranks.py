"""Training on several devices, one process (rank) for each: what the ranks tell each other besides gradients."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from clinlm.tasks.batches import WHOLE, Batch


def count_ranks() -> int:
    """Return the number of processes that train this model together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def whole_batch(logits: Float[Tensor, "units outputs"], batch: Batch) -> tuple[Float[Tensor, "all outputs"], Batch]:
    """Return the logits of the whole batch, of which each rank has a part, and what the loss needs of its units.

    The loss of the whole batch is then computed on every rank, be it a mean over documents, over those with labels or
    over subgroups. DDP averages gradients over ranks, and each rank has those of its own logits only: they are
    multiplied by the number of ranks, so that the average is the gradient that one process would compute.

    Args:
        logits: of the own part; of a rank that counts nothing (`RankCollate`), none of them is used.
        batch: of one rank; any other is returned as it is.
    """
    if f"{WHOLE}counts" not in batch:
        return logits, batch
    counts, rank = batch[f"{WHOLE}counts"].tolist(), distributed.get_rank()
    padded = logits.new_zeros(max(counts), logits.shape[1])
    padded[: counts[rank]] = logits.detach()[: counts[rank]]
    found = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(found, padded)
    parts = [part[:count] for part, count in zip(found, counts, strict=True)]
    own = logits[: counts[rank]]
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * len(counts))  # type: ignore[no-untyped-call]
    parts[rank] = own
    return torch.cat(parts), {
        name.removeprefix(WHOLE): value for name, value in batch.items() if name.startswith(WHOLE)
    }


def count_units(batch: Mapping[str, Tensor]) -> int:
    """Return the number of units of a batch, of all ranks together."""
    return len(batch.get(f"{WHOLE}index", batch["index"]))


def own_share(batch: Mapping[str, Tensor]) -> Tensor | float:
    """Return the weight of a mean over this rank's documents in the mean over ranks; see `RankCollate`."""
    return batch.get("share", 1.0)


@torch.no_grad()
def mean_of_ranks(values: Tensor) -> Tensor:
    """Return the mean over ranks, one by one."""
    if (ranks := count_ranks()) == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total / ranks


@torch.no_grad()
def largest(values: Tensor) -> Tensor:
    """Return the largest values over ranks, one by one."""
    if count_ranks() == 1:
        return values
    found = values.clone()
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return found
