"""Forward and backward passes over calibration documents in which inputs and outputs of modules are observed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clinlm.tasks.batches import Batch
from clinlm.training.modules.base import Module, document_logits

Loss = Callable[[Tensor, Batch], Tensor]


@contextmanager
def observing(network: nn.Module, handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Put the network into evaluation mode; afterwards remove the hooks and restore the mode."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)


def record_inputs(modules: Iterable[nn.Module], seen: list[Tensor]) -> list[RemovableHandle]:
    """Append the first input of each module to `seen`, in the order of the forward pass."""
    return [m.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for m in modules]


def record_outputs(modules: Iterable[nn.Module], seen: list[Tensor]) -> list[RemovableHandle]:
    """Append the output of each module to `seen`, in the order of the forward pass; of several outputs the first."""
    return [m.register_forward_hook(lambda _, __, output: seen.append(first_output(output))) for m in modules]


def first_output(output: Any) -> Tensor:
    """Return the output of a module, or the first of several: some layers return attention weights as well."""
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


@torch.no_grad()
def called_modules(network: nn.Module) -> set[nn.Module]:
    """Return the modules that a forward pass calls: found out with one short row.

    A module may have weights that are read without a call, such as DeBERTa's table of relative positions. A network
    without values (device `meta`) cannot run: of it, all modules are returned.
    """
    called: set[nn.Module] = set()
    if next(network.parameters()).is_meta:
        return {*network.modules()}
    row = torch.zeros(1, 4, dtype=torch.long, device=next(network.parameters()).device)
    handles = [m.register_forward_pre_hook(lambda module, _: called.add(module)) for m in network.modules()]
    with observing(network, handles):
        network(row, torch.ones_like(row))
    return called


@torch.no_grad()
def observe_inputs(
    module: Module,
    linears: Mapping[str, nn.Linear],
    documents: int,
    seed: int,
    see: Callable[[str, Float[Tensor, "tokens inputs"]], None],
) -> set[str]:
    """Run the network on `documents` training documents and pass every layer's inputs, without padding, to `see`.

    Returns:
        the names of the layers that were used.
    """
    device = next(module.network.parameters()).device
    mask, used = torch.empty(0), set[str]()

    def watch(name: str) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            used.add(name)
            see(name, token_inputs(inputs[0], mask).float())

        return linears[name].register_forward_pre_hook(hook)

    with observing(module.network, [watch(name) for name in linears]):
        for batch in module.data.calibration(documents, seed):
            moved = {name: value.to(device) for name, value in batch.items()}
            mask = moved["attention_mask"].bool()
            document_logits(module.network, moved, module.task.long_notes)
    return used


def token_inputs(inputs: Float[Tensor, "*places inputs"], mask: Tensor) -> Float[Tensor, "tokens inputs"]:
    """Return the inputs at tokens, without padding.

    Args:
        mask: (rows, tokens), true on tokens. Inputs of another layout (such as pooled ones) are all returned.
    """
    return inputs[mask] if inputs.shape[:-1] == mask.shape else inputs.flatten(0, -2)


def observed_gradients(
    module: Module, handles: Sequence[RemovableHandle], seen: list[Tensor], batches: Iterable[Batch], loss: Loss
) -> Iterator[tuple[Batch, list[tuple[Tensor, Tensor]]]]:
    """Yield for every batch the observed tensors, each with the gradient of the loss.

    The loss is that of every unit by itself, whatever batch it is in.

    Args:
        handles: hooks that append to `seen`; removed at the end.
        seen: cleared before every batch.
        batches: of calibration documents.
        loss: mean over the units of a batch.
    """
    with observing(module.network, handles):
        for batch in batches:
            seen.clear()
            with torch.enable_grad():
                logits = document_logits(module.network, batch, module.task.long_notes)
                # The mean times the number of units is a sum, in which every unit counts as if it were alone.
                total = loss(logits, batch) * len(batch["index"])
                gradients = torch.autograd.grad(total, seen)
            yield batch, list(zip((tensor.detach() for tensor in seen), gradients, strict=True))
