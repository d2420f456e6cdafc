"""K-prune: pruning of heads and FFN units that keeps what the network knows, without retraining."""

from collections.abc import Sequence
from typing import ClassVar, Literal, final

from jaxtyping import Float
from torch import Tensor

from callbacks.base import Compression
from callbacks.prune.base import check_ratio
from clinlm.compression.costs import Architecture
from clinlm.compression.cutting import KeptParts, layer_shapes, slice_to
from clinlm.compression.knowledge import Knowledge, measure_knowledge, preserve
from clinlm.compression.selection import keep_best, keep_by_cost
from clinlm.config.ranges import check_at_least, check_choice, check_interval
from clinlm.models import structure
from clinlm.models.model import Model
from clinlm.models.surgery import check_whole
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import LayerShape


@final
class Kprune(Compression):
    """Remove the heads and FFN units that know least, and refit the layers that read the others.

    Source    Park, Choi and Kang 2024, "Accurate retraining-free pruning for pretrained encoder-based language models"
              (K-prune), arXiv:2308.03449: predictive and representational knowledge, a mask search over all sublayers,
              weights tuned by least squares, sublayer by sublayer from the first to the last.
    Names     our `representation` stands for their balance of the two kinds, our `temperature` is theirs.
    Changes   heads and FFN units, layer by layer; weights and biases of the layers that read them.
    Needs     `documents` training documents without labels: two passes forward and backward, then two passes forward
              for every pruned sublayer.
    Cost      as much as half an epoch for a MiniLM and 64 documents of 1,600; a second copy of the network.
    Departs   knowledge is measured once, not again after every sublayer, and each kind is a share of its sum over the
              network, so that one balance serves every network; a sublayer is fitted to its own old output, not to
              that and the old residual; the sum is by parameters, not by multiplications.
    Clashes   integer weights, which have no gradient; factorised layers, which cannot be sliced; masks in the same
              stage.

    Args:
        ratio: share of the parameters of all heads and units to remove, in (0, 1).
        heads: whether heads are pruned too; else FFN units alone.
        spread: `network` compares parts of all layers by what they know for their size; `layers` removes the same share
            of every layer.
        temperature: of the predictions that are to be kept, at least 0.1.
        representation: weight of representational knowledge, in [0, 1].
        documents: calibration documents.

    Raises:
        ConfigError: a setting out of range.
        ModelError: (in `prepare`) a layer cannot be sliced.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(
        self,
        ratio: float = 0.3,
        heads: bool = True,
        spread: Literal["network", "layers"] = "network",
        temperature: float = 2.0,
        representation: float = 0.5,
        documents: int = 64,
    ) -> None:
        check_ratio(ratio)
        check_choice("prune.spread", spread, ("network", "layers"))
        check_at_least("prune.temperature", temperature, 0.1)
        check_interval("prune.representation", representation, "[0, 1]", "0 for predictions alone")
        check_at_least("prune.documents", documents, 1)
        self.ratio, self.heads, self.spread, self.documents = ratio, heads, spread, documents
        self.temperature, self.representation = temperature, representation
        self._rows: list[LayerShape] = []

    def dry_run(self, model: Model) -> None:
        structure.check_trainable(model.network)
        layers = structure.layers(model.network.body)
        check_whole(*(linear for layer in layers for linear in layer.linears))

    def prepare(self, module: Module) -> None:
        self.dry_run(module.model)
        known = measure_knowledge(module, self.documents, self.temperature, self.representation)
        heads, units = self._kept(module, known)
        before = Architecture.read(module.network)
        numbers = range(len(before.layers))
        kept = KeptParts(
            [*numbers],
            dict(zip(numbers, heads, strict=True)),
            dict(zip(numbers, units, strict=True)),
            [*range(before.hidden)],
            None,
        )
        preserve(module.network, kept, module.data.calibration(self.documents, module.seed), module.task.long_notes)
        slice_to(module.model, kept)
        self._rows = layer_shapes(before, kept, known.heads, known.units)

    def report(self) -> MethodReport:
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        return f" (ratio={self.ratio:g}; at least one head and one unit of every layer stay)"

    def _kept(self, module: Module, known: Knowledge) -> tuple[Sequence[list[int]], Sequence[list[int]]]:
        """Return the heads and the units of every layer to keep."""
        groups: list[Float[Tensor, " _"]] = [*(known.heads if self.heads else []), *known.units]
        if self.spread == "layers":
            kept = [keep_best(own, self.ratio) for own in groups]
        else:
            layers = structure.layers(module.network.body)
            sizes = [layer.head_size * (len(layer.by_head) + 1) for layer in layers] if self.heads else []
            kept = keep_by_cost(groups, [*sizes, *(len(layer.by_unit) + 1 for layer in layers)], self.ratio)
        if not self.heads:
            return [list(range(len(own))) for own in known.heads], kept
        return kept[: len(known.heads)], kept[len(known.heads) :]
