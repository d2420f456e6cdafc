"""Heads, FFN units, layers, hidden dimensions and embeddings, jointly, until a target holds."""

import copy
import logging
import math
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from callbacks.base import Compression
from callbacks.prune.settings import check_documents
from clinlm.compression.costs import Architecture
from clinlm.compression.cutting import KeptParts, factorize_embeddings, prune_to, select_parts, slice_to
from clinlm.compression.importance import Importance, calibration_batches, measure_importance, token_counts
from clinlm.compression.meters import CountedParameters, MeasuredLatency, Meter, SavedBytes
from clinlm.compression.reconstruction import reconstruct
from clinlm.compression.search import SearchResult, search, smallest_architecture
from clinlm.compression.target import Target
from clinlm.engines.base import find_engine
from clinlm.models import structure
from clinlm.models.model import Model
from clinlm.models.surgery import check_whole
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import CostTarget, LayerShape

log = logging.getLogger(__name__)
_ATTEMPTS = 6
_NEAR = 0.97
"""A network that costs more than this share of the target has used it well enough."""


@final
class Structured(Compression):
    """Choose the widths of all layers, the hidden size and the rank of the embeddings so that a cost target holds.

    Source    Kurtic et al. 2023, "ZipLM", arXiv:2302.04089: measured tables, a choice over all blocks, least-squares
              updates; Kwon et al. 2022, arXiv:2204.09656, section 4.1, and Molchanov et al. 2019, arXiv:1906.10771,
              equation 8: importance, the squared first-order term; Lan et al. 2020 (ALBERT), arXiv:1909.11942, section
              3.1: factorised embeddings.
    Names     our `target` is their speed-up or sparsity, of one network.
    Changes   attention heads and FFN units layer by layer, layers, hidden dimensions; word embeddings become a narrow
              table and a matrix; what reads a cut part is refitted, norms too.
    Needs     `documents` training documents, forward and backward, with the objective of the stage's module; for a
              latency, a machine on which nothing else runs.
    Cost      two passes over the documents and, for a latency, some 25 small networks timed: a minute or two of a
              MiniLM; while weights are refitted, 4 bytes for every pair of FFN units of a layer.
    Departs   importance decides what goes and the inverse Hessian does not; hidden size and embedding rank are searched
              too, out of a few; a layer goes whole, or attention and FFN both stay, if with one head and four units.
              The table is of whole small networks, so that it serves every engine, and what comes out is measured:
              where it misses, the search is repeated with what was learnt. Squares, and not absolute values: of a
              MiniLM cut to 30 % of its bytes (MTSamples, 20 specialties, nothing recovered) macro AUROC was 0.950, and
              0.856 with those.
    Clashes   after INT8 nothing has a gradient; after `factorize` there is no whole weight to slice; masks in the same
              stage. A latency is this machine's own: another one, or another engine, chooses other widths.

    Args:
        target: `latency_ms:2.0`, `bytes:4e6` (of an artifact's files) or `parameters:1e6`; or a share of what there is:
            `parameters:50%`.
        documents: calibration documents.
        engine: what a latency is measured with: see `clinlm.engines.base.names`.
        remaining: see `Target.goal`; `clinlm.pipeline.plan` sets it where a stage is done several times.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(
        self, target: str = "parameters:50%", documents: int = 64, engine: str = "torch", remaining: int = 1
    ) -> None:
        self.target = Target.of(target)
        check_documents(documents)
        missing = find_engine(engine).missing()
        if missing:
            raise ValueError(f"prune.engine is one that is installed; {engine} needs {missing}; install it")
        if remaining < 1:
            raise ValueError(f"prune.remaining is a number of steps, at least 1; got {remaining}")
        self.documents, self.engine, self.remaining = documents, engine, remaining
        self._rows: list[CostTarget | LayerShape] = []
        self._promised: Architecture | None = None

    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`.

        Raises:
            ValueError: the network costs no more than the target already, or no network that is left would reach it;
                a layer that cannot be sliced.
        """
        structure.check_trainable(module.network)
        layers = structure.layers(module.network.body)
        check_whole(*(getattr(layer, role) for layer in layers for role in structure.LINEARS))
        # How many networks are tried hangs on what was measured; what training draws must not.
        with torch.random.fork_rng(devices=[]):
            self._prune(module)

    def _prune(self, module: Module) -> None:
        now = Architecture.read(module.network)
        meter = self._meter(module)
        self._check_above(meter.now)
        importance = measure_importance(module, self.documents)
        often = token_counts(module.data, structure.word_embeddings(module.network.body).num_embeddings)
        chosen, before, after = self._settled(module.model, meter, importance, now, often)
        stays = select_parts(importance, now, chosen.architecture)
        if stays.rank is not None:
            factorize_embeddings(module.model, stays.rank, often)
        # After the embeddings: weights that make up for a cut do so for inputs as they will be.
        reconstruct(module.network, stays, calibration_batches(module, self.documents), module.task.long_notes)
        slice_to(module.model, stays)
        self._promised = Architecture.read(module.network)
        self._rows = [self._cost(now, chosen, before, after), *_layers(now, stays, importance)]

    def finalize(self, module: Module) -> None:
        """Check that the widths are still what was promised."""
        found = Architecture.read(module.network)
        if found != self._promised:
            raise RuntimeError(f"pruning promised {self._promised}; after training it is {found}")

    def report(self) -> MethodReport:
        """Return the cost, predicted and measured, beside the target; then every layer as it was numbered before."""
        return MethodReport(tuple(self._rows))

    def _meter(self, module: Module) -> Meter:
        if self.target.metric == "parameters":
            return CountedParameters(module)
        return SavedBytes(module) if self.target.metric == "bytes" else MeasuredLatency(module, self.engine)

    def _check_above(self, now: float) -> None:
        if not self.target.relative and now <= self.target.value:
            raise ValueError(
                f"prune.target lies below what there is; the network has {now:,.6g} {self.target.metric}, the target "
                f"is {self.target.value:,.6g}; lower it, or take the stage out"
            )

    def _settled(
        self, model: Model, meter: Meter, importance: Importance, now: Architecture, often: Float[Tensor, " tokens"]
    ) -> tuple[SearchResult, float, float]:
        """Return the architecture whose measured cost keeps to the target and comes nearest to it; and what the network
        that was there cost in the same run, and what it costs."""
        budget = self.target.goal(meter.now, self.remaining) * meter.costs.total(now) / meter.now
        best: tuple[SearchResult, float, float] | None = None
        nearest = 0.0  # share of the target that the best comes to, each measured beside the network that was there
        seen: list[Architecture] = []
        measured = math.inf
        for _ in range(_ATTEMPTS):
            found = search(now, importance, meter.costs, len(often), budget)
            if not found or found[0].architecture in seen:
                break
            chosen = found[0]
            seen.append(chosen.architecture)
            candidate = Model(model.spec, copy.deepcopy(model.network).eval(), model.tokenizer, list(model.edits))
            prune_to(candidate, select_parts(importance, now, chosen.architecture), often)
            before, measured = meter.measure(candidate)
            goal = self.target.goal(before, self.remaining)
            log.info(
                "%s: predicted %.6g, measured %.6g, to reach %.6g", self.target.metric, chosen.cost, measured, goal
            )
            if nearest < measured / goal <= 1:
                best, nearest = (chosen, before, measured), measured / goal
            if nearest >= _NEAR:
                break
            budget = chosen.cost * goal / measured * (1.0 if measured <= goal else 0.99)
        if best is None:
            raise ValueError(
                self._out_of_reach(smallest_architecture(now, importance, meter.costs, len(often)), measured)
            )
        return best

    def _out_of_reach(self, least: SearchResult, measured: float) -> str:
        tried = "" if math.isinf(measured) else f", and what was tried last came to {measured:,.6g}"
        return (
            f"one layer of one head and a few FFN units always stays; prune.target={self.target.metric}:"
            f"{self.target.value:.6g} cannot be had: the smallest network has about {least.cost:,.6g}{tried}; set it "
            "higher, or begin with fewer tokens (prune=vocabulary) or a smaller student"
        )

    def _cost(self, now: Architecture, chosen: SearchResult, before: float, after: float) -> CostTarget:
        return CostTarget(
            target=self.target.metric,
            cost_before=before,
            cost_goal=self.target.goal(before, self.remaining),
            cost_predicted=chosen.cost,
            cost_after=after,
            hidden_before=now.hidden,
            hidden_after=chosen.architecture.hidden,
            embedding_rank=chosen.architecture.rank,
            layers_before=len(now.layers),
            layers_after=sum(layer is not None for layer in chosen.architecture.layers),
            importance_lost=chosen.lost,
        )


def _layers(now: Architecture, stays: KeptParts, importance: Importance) -> list[LayerShape]:
    return [
        LayerShape(
            layer=number,
            heads_before=layer[0],
            heads_after=len(stays.heads.get(number, [])),
            units_before=layer[1],
            units_after=len(stays.units.get(number, [])),
            importance_of_heads=float(importance.heads[number].sum()),
            importance_of_units=float(importance.units[number].sum()),
        )
        for number, layer in enumerate(now.layers)
        if layer is not None
    ]
