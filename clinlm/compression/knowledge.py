"""What heads and FFN units of an encoder know, and weights that keep it when some of them are pruned."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clinlm.compression.cutting import KeptParts
from clinlm.compression.importance import sum_per_document
from clinlm.compression.observation import observed_gradients, observing, record_inputs, record_outputs
from clinlm.compression.reconstruction import solve_ridge
from clinlm.models import structure
from clinlm.models.model import Network
from clinlm.tasks.batches import Batch
from clinlm.tasks.inference_config import Kind
from clinlm.text.long_notes import LongNotes
from clinlm.training.modules.base import Module, document_logits

_DRAWS: Final = 2
"""Answers drawn for every unit of a calibration document."""


@dataclass(frozen=True)
class Knowledge:
    """Shares of all that heads and FFN units know together: their sum over all layers is 1.

    Attributes:
        heads: one vector per layer, one number per head.
        units: one vector per layer, one number per FFN unit.
    """

    heads: list[Float[Tensor, " _"]]
    units: list[Float[Tensor, " _"]]


def measure_knowledge(module: Module, documents: int, temperature: float, representation: float) -> Knowledge:
    """Return what every head and FFN unit knows.

    Predictive knowledge of a part is the curvature of KL(own predictions || predictions as the part fades): at the
    network itself the KL has no gradient, and its Hessian is the Fisher information of the part's gate, estimated with
    answers drawn from the predictions. Representational knowledge is the mean squared norm of what the part adds to its
    sublayer's output, over tokens.

    Args:
        documents: calibration documents, whose labels are not read.
        temperature: divides the logits of both predictions.
        representation: share of representational knowledge in the sum, in [0, 1].
    """
    layers = structure.layers(module.network.body)
    linears = [linear for layer in layers for linear in (layer.attention_output, layer.down)]
    seen: list[Tensor] = []
    sizes = [size for layer in layers for size in (layer.heads, layer.down.in_features)]
    fisher, added = ([torch.zeros(size, dtype=torch.float64) for size in sizes] for _ in range(2))
    batches = module.data.calibration(documents, module.seed)
    grams = [_gram(linear.weight.detach().double(), place) for place, linear in enumerate(linears)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(module.seed)
        for draw in range(_DRAWS):
            loss = _drawn_loss(module.task.kind, temperature)
            handles = record_inputs(linears, seen)
            for batch, observed in observed_gradients(module, handles, seen, batches, loss):
                mask, count = batch["attention_mask"].bool(), int(batch["document"][-1]) + 1
                for place, (inputs, gradient) in enumerate(observed):
                    products = _by_part(sum_per_document(inputs * gradient, batch["document"], count), layers, place)
                    fisher[place] += products.double().square().sum(0)
                    if draw == 0:
                        added[place] += _added(inputs[mask].double(), grams[place], layers, place)
    predictive, represented = _shares(fisher), _shares(added)
    found = [(1 - representation) * a + representation * b for a, b in zip(predictive, represented, strict=True)]
    return Knowledge(found[::2], found[1::2])


def _drawn_loss(kind: Kind, temperature: float) -> Callable[[Tensor, Batch], Tensor]:
    """Return the negative log-likelihood of answers that are drawn from the predictions, a mean over units."""

    def loss(logits: Float[Tensor, "units outputs"], batch: Batch) -> Tensor:
        values = logits / temperature
        if kind == "multilabel":
            answers = torch.bernoulli(torch.sigmoid(values.detach()))
            return functional.binary_cross_entropy_with_logits(values, answers, reduction="sum") / len(values)
        answers = torch.multinomial(values.detach().softmax(1), 1)[:, 0]
        return functional.cross_entropy(values, answers)

    return loss


def _by_part(
    products: Float[Tensor, "documents inputs"], layers: Sequence[structure.Layer], place: int
) -> Float[Tensor, "documents parts"]:
    """Return sums over the numbers of every head; units have one number each."""
    layer = layers[place // 2]
    return products if place % 2 else products.view(len(products), layer.heads, layer.head_size).sum(2)


def _gram(weight: Float[Tensor, "outputs inputs"], place: int) -> Float[Tensor, "inputs ..."]:
    """Return the products of pairs of columns; of units, which count one by one, those of each with itself."""
    return weight.square().sum(0) if place % 2 else weight.T @ weight


def _added(
    inputs: Float[Tensor, "tokens inputs"],
    gram: Float[Tensor, "inputs ..."],
    layers: Sequence[structure.Layer],
    place: int,
) -> Float[Tensor, " parts"]:
    """Return the squared norm of what every part adds to the output, summed over tokens."""
    if place % 2:
        return inputs.square().sum(0) * gram
    layer = layers[place // 2]
    moments = inputs.T @ inputs
    size = layer.head_size
    blocks = [slice(head * size, (head + 1) * size) for head in range(layer.heads)]
    return torch.stack([(moments[own, own] * gram[own, own]).sum() for own in blocks])


def _shares(every: Sequence[Float[Tensor, " _"]]) -> list[Float[Tensor, " _"]]:
    total = torch.cat([*every]).sum()
    return [own / total if total else own for own in every]


@torch.no_grad()
def preserve(network: Network, kept: KeptParts, batches: Sequence[Batch], long_notes: LongNotes) -> None:
    """Refit the output weights of every pruned sublayer, from the first to the last, and zero what is not kept.

    By least squares over calibration tokens, so that a sublayer puts out what it did in the network before pruning,
    from inputs as the layers below, already pruned and refitted, now give them.

    Args:
        network: not yet sliced.
        kept: heads and units of every layer.
    """
    before = copy.deepcopy(network)
    layers = zip(structure.layers(network.body), structure.layers(before.body), strict=True)
    for number, (layer, old) in enumerate(layers):
        size = layer.head_size
        inner = [head * size + place for head in kept.heads[number] for place in range(size)]
        sublayers = ((layer.attention_output, old.attention_output, inner), (layer.down, old.down, kept.units[number]))
        for linear, original, columns in sublayers:
            if len(columns) < linear.in_features:
                sums = _PairedSums(linear, columns)
                with sums.watching(network, before, original) as see:
                    for batch in batches:
                        see(batch, long_notes)
                sums.solve()


class _PairedSums:
    """Sums over tokens of inputs of a layer now, and of its outputs before anything was pruned."""

    def __init__(self, linear: nn.Linear, kept: Sequence[int]) -> None:
        self._linear, self._kept = linear, list(kept)
        self._count = 0
        self._inputs: Any = 0.0
        self._outputs: Any = 0.0
        self._squares: Any = 0.0
        self._products: Any = 0.0

    @contextmanager
    def watching(
        self, network: Network, before: Network, original: nn.Linear
    ) -> Iterator[Callable[[Batch, LongNotes], None]]:
        """Yield what runs both networks on a batch and adds its tokens."""
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []
        handles = [*record_inputs([self._linear], inputs), *record_outputs([original], outputs)]

        def see(batch: Batch, long_notes: LongNotes) -> None:
            mask = batch["attention_mask"].bool()
            for one in (network, before):
                document_logits(one, batch, long_notes)
            self._add(inputs.pop()[mask].double()[:, self._kept], outputs.pop()[mask].double())

        with observing(network, handles), observing(before, []):
            yield see

    def _add(self, inputs: Float[Tensor, "tokens kept"], outputs: Float[Tensor, "tokens outputs"]) -> None:
        self._count += len(inputs)
        self._inputs, self._outputs = self._inputs + inputs.sum(0), self._outputs + outputs.sum(0)
        self._squares = self._squares + inputs.T @ inputs
        self._products = self._products + outputs.T @ inputs

    def solve(self) -> None:
        """Write weights and bias."""
        linear = self._linear
        mean, target = self._inputs / self._count, self._outputs / self._count
        inner, cross = self._squares / self._count, self._products / self._count
        if linear.bias is not None:
            inner, cross = inner - torch.outer(mean, mean), cross - torch.outer(target, mean)
        solved = solve_ridge(inner, cross, linear.weight[:, self._kept].double())
        linear.weight.zero_()
        linear.weight[:, self._kept] = solved.to(linear.weight.dtype)
        if linear.bias is not None:
            linear.bias.copy_((target - solved @ mean).to(linear.bias.dtype))
