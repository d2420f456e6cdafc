"""The rows of reports: what each kind of method promises of the network, and how to check it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, final

from clinlm.training.method_report import MethodReport, ReportRow

if TYPE_CHECKING:  # rows are read without torch; only their promises are checked with it
    from torch import nn

    from clinlm.models.model import Model


@final
@dataclass(frozen=True)
class Sparsity(ReportRow):
    """A matrix with zeros.

    Attributes:
        threshold: largest score that was removed, where a matrix or the network competes as a whole.
        dense_tail: weights of a ragged end, which stay, where m neighbours compete.
    """

    linear: str
    weights: int
    zeros: int
    share: float
    threshold: float | None = None
    dense_tail: int | None = None

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        weights, zeros = sum(row.weights for row in own), sum(row.zeros for row in own)
        return f"left {zeros:,} of {weights:,} weights zero ({zeros / weights:.1%}) in {len(own)} matrices"

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        body = model.network.body
        weights = {row.linear: body.get_submodule(row.linear).get_parameter("weight") for row in rows}
        promised = {row.linear: row.zeros for row in rows}
        return promised, {name: int((weight == 0).sum()) for name, weight in weights.items()}


@final
@dataclass(frozen=True)
class FfnWidth(ReportRow):
    """A layer whose FFN units were cut, with mean and standard deviation of their scores."""

    layer: int
    width_before: int
    width_after: int
    score_mean: float
    score_std: float
    skipped: bool

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        before, after = sum(row.width_before for row in own), sum(row.width_after for row in own)
        skipped, spread = sum(row.skipped for row in own), min(row.score_std for row in own)
        return (
            f"cut {before:,} FFN units to {after:,} in {len(own) - skipped} of {len(own)} layers, {skipped} skipped "
            f"(smallest standard deviation of a layer's scores: {spread:.3g})"
        )

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        promised = [row.width_after for row in rows]
        return promised, [layer.up.out_features for layer in structure.layer_parts(model.network.body)]


@final
@dataclass(frozen=True)
class HeadCount(ReportRow):
    """A layer whose attention heads were cut, with the smallest and largest of their normalised importances."""

    layer: int
    heads_before: int
    heads_after: int
    score_min: float
    score_max: float

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        before, after = sum(row.heads_before for row in own), sum(row.heads_after for row in own)
        share = 1 - after / before
        return f"cut {before} attention heads to {after} ({share:.0%}) in {len(own)} layers, which keep one each"

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        return [row.heads_after for row in rows], [layer.heads for layer in structure.layer_parts(model.network.body)]


@final
@dataclass(frozen=True)
class FilterCount(ReportRow):
    """A width of a convolution (in tokens) whose filters were cut, with their smallest and largest norm."""

    tokens: int
    filters_before: int
    filters_after: int
    norm_min: float
    norm_max: float

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        promised = [row.filters_after for row in rows]
        return promised, [linear.out_features for linear in structure.filters(model.network.body)]


@final
@dataclass(frozen=True)
class LayerKept(ReportRow):
    """A layer, as numbered before the cut: its block influence, and whether it was kept."""

    layer: int
    block_influence: float
    kept: bool

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        kept = sum(row.kept for row in own)
        return f"kept {kept} of {len(own)} layers ({1 - kept / len(own):.0%} cut)"

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        return sum(row.kept for row in rows), len(structure.layer_parts(model.network.body))


@final
@dataclass(frozen=True)
class TokensKept(ReportRow):
    """A layer behind which only some tokens of a row are left.

    Attributes:
        percent: of a row's tokens that leave the layer.
        tokens_before, tokens_after: that enter and leave it, in the mean over the rows of calibration documents.
        multiplications_before, multiplications_after: in the layer, over these rows, with all tokens and with these.
        error: how much more the logits change because of this layer, as estimated, before recovery.
    """

    layer: int
    percent: int
    tokens_before: float
    tokens_after: float
    multiplications_before: int
    multiplications_after: int
    error: float

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        before, after = sum(row.multiplications_before for row in own), sum(row.multiplications_after for row in own)
        return (
            f"let {', '.join(str(row.percent) for row in own)} % of a row's tokens leave the layers, which saves "
            f"{1 - after / before:.1%} of their multiplications (rows of {own[0].tokens_before:.0f} tokens)"
        )

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        pruned = structure.token_pruning(model.network.body)
        return [row.percent for row in rows], None if pruned is None else pruned.kept.tolist()


@final
@dataclass(frozen=True)
class VocabularySize(ReportRow):
    """The tokens of a tokenizer that was cut.

    Attributes:
        tokens_before: rows of the embedding table.
        occurring: those that occur in the training texts.
        validation_pieces_before, validation_pieces_after: tokens of the validation texts, by either tokenizer.
    """

    tokens_before: int
    tokens_after: int
    occurring: int
    validation_pieces_before: int
    validation_pieces_after: int

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        embeddings = structure.word_embeddings(model.network.body).num_embeddings
        cut = any(row.tokens_after < row.tokens_before for row in rows)
        return {row.tokens_after for row in rows}, {embeddings, len(model.tokenizer)} if cut else {embeddings}


@final
@dataclass(frozen=True)
class CostTarget(ReportRow):
    """The cost of a network that was cut to a target, and its architecture; rows of `LayerShape` follow.

    Attributes:
        target: the metric: `latency_ms`, `bytes` or `parameters`.
        cost_before, cost_goal, cost_predicted, cost_after: in the metric's unit; the first and last are measured.
        embedding_rank: of factorised embeddings; None where they are whole.
    """

    target: str
    cost_before: float
    cost_goal: float
    cost_predicted: float
    cost_after: float
    hidden_before: int
    hidden_after: int
    embedding_rank: int | None
    layers_before: int
    layers_after: int
    importance_lost: float

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        (own,) = report.of(cls)
        layers = [row for row in report.of(LayerShape) if row.heads_after]
        heads, units = (", ".join(map(str, values)) for values in zip(*(row.shape for row in layers), strict=True))
        rank = own.embedding_rank
        return (
            f"cut {own.cost_before:,.6g} {own.target} to {own.cost_after:,.6g} "
            f"(asked {own.cost_goal:,.6g}, predicted {own.cost_predicted:,.6g}): "
            f"{own.layers_after} of {own.layers_before} layers with {heads} heads "
            f"and {units} FFN units, hidden size {own.hidden_before} to {own.hidden_after}, "
            f"{'whole embeddings' if rank is None else f'embeddings of rank {rank}'}"
        )

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        body = model.network.body
        promised = [(row.layers_after, row.hidden_after) for row in rows]
        return promised, [(len(structure.layer_parts(body)), structure.hidden_size(body))]


@final
@dataclass(frozen=True)
class LayerShape(ReportRow):
    """A layer that was narrowed, as numbered before: 0 heads and 0 FFN units where it was cut."""

    layer: int
    heads_before: int
    heads_after: int
    units_before: int
    units_after: int
    importance_of_heads: float
    importance_of_units: float

    @property
    def shape(self) -> tuple[int, int]:
        """Heads and FFN units that are left."""
        return self.heads_after, self.units_after

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        heads, units = (sum(row.heads_before for row in own), sum(row.units_before for row in own))
        left = [sum(widths) for widths in zip(*(row.shape for row in own), strict=True)]
        return f"cut {heads} heads to {left[0]} and {units:,} FFN units to {left[1]:,} in {len(own)} layers"

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models import structure

        promised = [row.shape for row in rows if row.heads_after]
        return promised, [(layer.heads, layer.up.out_features) for layer in structure.layer_parts(model.network.body)]


@final
@dataclass(frozen=True)
class Rank(ReportRow):
    """A linear layer that became a product of two.

    Attributes:
        rank: None where it was left whole.
        relative_error: Frobenius norm of what is missing in the product, over that of the weight; in [0, 1].
    """

    linear: str
    rank: int | None
    relative_error: float
    parameters_before: int
    parameters_after: int

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        before, after = sum(row.parameters_before for row in own), sum(row.parameters_after for row in own)
        return f"made {before:,} parameters of {len(own)} matrices {after:,} by factors"

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        from clinlm.models.layers.low_rank_linear import LowRankLinear

        layers = {row.linear: _submodule(model, row.linear) for row in rows if row.rank is not None}
        pairs = {name: layer for name, layer in layers.items() if isinstance(layer, LowRankLinear)}
        promised = {row.linear: row.rank for row in rows if row.rank is not None}
        return promised, {name: min(pair.down.out_features, pair.up.in_features) for name, pair in pairs.items()}


@final
@dataclass(frozen=True)
class BitWidth(ReportRow):
    """A linear layer or embedding table that became integers or half precision, or was spared.

    Attributes:
        layer: its dotted name.
        bytes_before, bytes_after: of its tensors.
        relative_error: Frobenius norm of the rounding error over that of the weight; 0 where spared.
        sensitivity: rise of the mean validation loss when it alone is quantised; None where it was not measured.
        half: whether it became half precision, and not integers.
    """

    layer: str
    bytes_before: int
    bytes_after: int
    relative_error: float
    spared: bool
    sensitivity: float | None
    half: bool = False

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        made = [row for row in own if not row.spared]
        before, after = sum(row.bytes_before for row in made), sum(row.bytes_after for row in made)
        spared = f"; {len(own) - len(made)} that suffer most stay in float" if len(made) < len(own) else ""
        form = "half precision" if any(row.half for row in made) else "integers"
        return f"made {before / 1e6:.1f} MB of {len(made)} matrices {after / 1e6:.1f} MB of {form}{spared}"

    @classmethod
    def compare(cls, rows: Sequence[Self], model: "Model") -> tuple[Any, Any]:
        made = [row.layer for row in rows if not row.spared]
        layers = {name: _submodule(model, name).state_dict().values() for name in made}
        promised = {row.layer: row.bytes_after for row in rows if not row.spared}
        return promised, {name: sum(t.numel() * t.element_size() for t in tensors) for name, tensors in layers.items()}


@final
@dataclass(frozen=True)
class RecoveryQuality(ReportRow):
    """Quality on validation before or after recovery.

    Attributes:
        metrics: name -> value; each is a column.
    """

    when: str
    metrics: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"when": self.when, **self.metrics}

    @classmethod
    def from_json(cls, columns: Mapping[str, Any]) -> Self:
        return cls(columns["when"], {name: value for name, value in columns.items() if name != "when"})


@final
@dataclass(frozen=True)
class SubgroupWeight(ReportRow):
    """What a subgroup of patients weighed at the end of a recovery that weighs them, and its training documents."""

    attribute: str
    subgroup: str
    documents: int
    weight: float

    @classmethod
    def summary(cls, report: MethodReport) -> str:
        own = report.of(cls)
        return "weighed subgroups: " + ", ".join(f"{r.attribute} {r.subgroup} {r.weight:.2f}" for r in own)


@final
@dataclass(frozen=True)
class BestEpoch(ReportRow):
    """The epoch whose weights were kept, counted from 0; -1, and no value, if none was validated."""

    epoch: int
    monitor: str
    value: float | None


def _submodule(model: "Model", name: str) -> "nn.Module":
    return model.network.get_submodule(name)
