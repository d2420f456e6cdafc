"""Joint pruning of heads, FFN units, layers, hidden dimensions and embeddings to a cost target."""

from typing import ClassVar, final

import torch

from callbacks.base import Compression
from clinlm.compression.costs import Architecture
from clinlm.compression.cutting import factorize_words, layer_shapes, select_parts, slice_to
from clinlm.compression.importance import calibration_batches, measure_importance, token_counts
from clinlm.compression.meters import make_meter
from clinlm.compression.reconstruction import reconstruct
from clinlm.compression.target import Target
from clinlm.compression.target_search import MeasuredResult, search_target
from clinlm.config.errors import MissingExtraError, ModelError
from clinlm.config.ranges import check_at_least
from clinlm.engines.base import find_engine
from clinlm.models import structure
from clinlm.models.model import Model
from clinlm.models.surgery import check_whole
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import CostTarget, LayerShape


@final
class Structured(Compression):
    """Choose the widths of all layers, the hidden size and the rank of the embeddings so that a cost target holds.

    Source    Kurtic et al. 2023, "ZipLM", arXiv:2302.04089: measured tables, a choice over all blocks, least-squares
              updates; Kwon et al. 2022, arXiv:2204.09656, section 4.1, and Molchanov et al. 2019, arXiv:1906.10771,
              equation 8: importance, the squared first-order term; Lan et al. 2020 (ALBERT), arXiv:1909.11942, section
              3.1: factorised embeddings.
    Names     our `target` is their speed-up or sparsity, of one network.
    Changes   attention heads and FFN units layer by layer, layers, hidden dimensions; word embeddings become a narrow
              table and a matrix; layers that read a pruned part are refitted, norms too.
    Needs     `documents` training documents, forward and backward, with the objective of the stage's module; for a
              latency, a machine without other load.
    Cost      two passes over the documents and, for a latency, about 25 small networks timed: a minute or two for a
              MiniLM; while weights are refitted, 4 bytes for every pair of FFN units of a layer.
    Departs   importance, not the inverse Hessian, decides what is pruned; hidden size and embedding rank are searched
              too, out of a few values; a layer is removed as a whole, or keeps attention and FFN, if only one head and
              four units. The latency table consists of whole small networks, so that it serves every engine, and the
              result is measured: where it misses the target, the search is repeated with a corrected budget. Squares
              instead of absolute values: of a MiniLM pruned to 30 % of its bytes (MTSamples, 20 specialties, without
              recovery) macro AUROC was 0.950 with squares, 0.856 with absolute values.
    Clashes   integer weights, which have no gradient; factorised layers, which cannot be sliced; masks in the same
              stage. A latency depends on the machine: another one, or another engine, gives other widths.

    Args:
        target: `latency_ms:2.0` (of the network, from token ids to logits; `network ms` of a report), `bytes:4e6` (of
            an artifact's files) or `parameters:1e6`; or a share of the current cost: `parameters:50%`.
        documents: calibration documents.
        engine: measures latencies; see `clinlm.engines.base.find_engine`.
        remaining: see `Target.goal`; `clinlm.pipeline.plan` sets it where a stage is repeated.

    Raises:
        ConfigError: a setting out of range; (in `prepare`) the network costs less than the target, or none meets it.
        MissingExtraError: the engine is not installed.
        ModelError: (in `prepare`) a layer cannot be sliced.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(
        self, target: str = "parameters:50%", documents: int = 64, engine: str = "torch", remaining: int = 1
    ) -> None:
        self.target = Target.of(target)
        check_at_least("prune.documents", documents, 1)
        missing = find_engine(engine).missing()
        if missing:
            raise MissingExtraError(f"prune.engine={engine} needs {missing}; install it, or set another prune.engine")
        check_at_least("prune.remaining", remaining, 1)
        self.documents, self.engine, self.remaining = documents, engine, remaining
        self._rows: list[CostTarget | LayerShape] = []
        self._promised: Architecture | None = None

    def dry_run(self, model: Model) -> None:
        structure.check_trainable(model.network)
        layers = structure.layers(model.network.body)
        check_whole(*(linear for layer in layers for linear in layer.linears))

    def prepare(self, module: Module) -> None:
        self.dry_run(module.model)
        # The number of networks that are tried depends on measurements; the random numbers of training must not.
        with torch.random.fork_rng(devices=[]):
            self._prune(module)

    def _prune(self, module: Module) -> None:
        now = Architecture.read(module.network)
        meter = make_meter(self.target.metric, module, self.engine)
        importance = measure_importance(module, self.documents)
        often = token_counts(module.data, structure.word_embeddings(module.network.body).num_embeddings)
        found = search_target(module.model, meter, importance, often, self.target, self.remaining)
        kept = select_parts(importance, now, found.result.architecture)
        if kept.rank is not None:
            factorize_words(module.model, kept.rank, often)
        # After the embeddings, so that weights are refitted to the inputs that they will have.
        reconstruct(module.network, kept, calibration_batches(module, self.documents), module.task.long_notes)
        slice_to(module.model, kept)
        self._promised = Architecture.read(module.network)
        self._rows = [self._cost(now, found), *layer_shapes(now, kept, importance.heads, importance.units)]

    def finalize(self, module: Module) -> None:
        """Check the widths: hidden size and rank are in no row of a layer."""
        found = Architecture.read(module.network)
        if found != self._promised:
            raise ModelError(f"pruning must leave {self._promised}, got {found}")

    def report(self) -> MethodReport:
        """Return the cost, predicted and measured, and the target; then every layer by its original number."""
        return MethodReport(tuple(self._rows))

    def _cost(self, now: Architecture, found: MeasuredResult) -> CostTarget:
        architecture = found.result.architecture
        return CostTarget(
            target=self.target.metric,
            cost_before=found.before,
            cost_goal=self.target.goal(found.before, self.remaining),
            cost_predicted=found.result.cost,
            cost_after=found.after,
            hidden_before=now.hidden,
            hidden_after=architecture.hidden,
            embedding_rank=architecture.rank,
            layers_before=len(now.layers),
            layers_after=sum(layer is not None for layer in architecture.layers),
            importance_lost=found.result.lost,
        )
