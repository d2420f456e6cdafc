"""Parts of a transformer encoder by role; `clinlm.models.families` has the attribute names of architectures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models.families import FAMILIES, TOKEN_PRUNABLE, UNCUTTABLE, Family
from clinlm.models.layers.low_rank_embedding import LowRankEmbedding
from clinlm.models.layers.split_linear import SplitLinear
from clinlm.models.layers.token_pruning_encoder import TokenPruningEncoder


@dataclass(frozen=True)
class Layer:
    """Parts of one encoder layer. Widths come from the tensors: pruning changes them, not the configuration.

    Attributes:
        module: the layer itself, from hidden state to hidden state.
        query, key, value: Linear, hidden -> heads x head_size.
        attention_output: Linear, heads x head_size -> hidden.
        attention_norm: LayerNorm over hidden: after attention, or before it; before the first layer of some families
            an Identity.
        up: Linear, hidden -> FFN units. Row i of its weight holds the input weights of unit i.
        gate: as `up`; its outputs multiply the activations. None where the FFN has no gate.
        down: Linear, FFN units -> hidden. Column i of its weight holds the output weights of unit i.
        output_norm: LayerNorm over hidden: after the FFN, or before it.
        positions: Linear, hidden -> heads x head_size, of relative positions.
        attention: the module that splits query, key and value into heads.
        head_size: width of one head.
    """

    module: nn.Module
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    attention_norm: nn.Module
    up: nn.Linear
    gate: nn.Linear | None
    down: nn.Linear
    output_norm: nn.LayerNorm
    positions: tuple[nn.Linear, ...]
    attention: nn.Module
    head_size: int

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.query.out_features // self.head_size

    @property
    def by_head(self) -> tuple[nn.Linear, ...]:
        """The linear layers whose rows belong to heads."""
        return (self.query, self.key, self.value, *self.positions)

    @property
    def by_unit(self) -> tuple[nn.Linear, ...]:
        """The linear layers whose rows belong to FFN units."""
        return (self.up,) if self.gate is None else (self.up, self.gate)

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        """All linear layers."""
        return (*self.by_head, self.attention_output, *self.by_unit, self.down)

    def unit_rows(self) -> Float[Tensor, "units inputs"]:
        """Return the input weights of every FFN unit, those of its gate too."""
        return torch.cat([linear.weight.detach() for linear in self.by_unit], 1)


@dataclass(frozen=True)
class ReadingPlace:
    """A place where the hidden state is read.

    Attributes:
        source: the module whose output is read.
        readers: linear layers of the encoder that read it; none where pooling and head do.
    """

    source: nn.Module
    readers: tuple[nn.Linear, ...]


_ROLES = (
    "query",
    "key",
    "value",
    "attention_output",
    "attention_norm",
    "up",
    "down",
    "output_norm",
    "attention",
)
LINEARS = ("query", "key", "value", "attention_output", "up", "gate", "down")
"""Fields of `Layer` with a linear layer that a method may target; not every family has a gate."""


def family(body: nn.Module) -> Family:
    """Return the names of the parts of `body`.

    Raises:
        ModelError: its family is not known, or it differs from its family.
    """
    kind = getattr(getattr(body, "config", None), "model_type", "")
    found = FAMILIES.get(kind)
    modules = dict(body.named_modules())
    reason = UNCUTTABLE.get(kind, "its parts are not known")
    if found is not None:
        if not isinstance(modules.get(found.stack), nn.ModuleList):
            raise ModelError(f"a {kind} must have its layers in {found.stack}, {type(body).__name__} does not")
        unlike = [why for name, why in found.unlike.items() if name in modules]
        if not unlike:
            return found
        reason = unlike[0]
    raise ModelError(
        f"this method needs encoder layers that can be cut, got {type(body).__name__} ({reason}); use a model of type "
        f"{', '.join(FAMILIES)}, or a method that does not change layers (quantize=, prune=unstructured; for text_cnn: "
        "prune=filters)"
    )


def split_fused(body: nn.Module) -> nn.Module:
    """Return `body` with fused linear layers in parts (`clinlm.models.layers.split_linear`), where its family has some.

    Every network of clinlm is in this form: live ones, skeletons, and the weights of artifacts.
    """
    found = FAMILIES.get(getattr(body.config, "model_type", ""))
    if found is not None and found.parts:
        for layer in cast(nn.ModuleList, body.get_submodule(found.stack)):
            for name, parts in found.parts.items():
                parent, _, attribute = name.rpartition(".")
                fused = cast(nn.Linear, layer.get_submodule(name))
                setattr(layer.get_submodule(parent), attribute, SplitLinear.of(fused, parts))
    return body


def stack(body: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the dotted name and the list of encoder layers of `body`. Raises as `family`."""
    name = family(body).stack
    return name, cast(nn.ModuleList, body.get_submodule(name))


def layers(body: nn.Module) -> list[Layer]:
    """Return the parts of every encoder layer of `body`, first layer first: to cut them, or to look at their tokens.

    Raises:
        ModelError: as `layer_parts`, or layers drop tokens, so that they see other tokens than the row has.
    """
    check_all_tokens(body)
    return layer_parts(body)


def layer_parts(body: nn.Module) -> list[Layer]:
    """Return the parts of every encoder layer of `body`, first layer first, to read their sizes.

    Raises:
        ModelError: as `family`, or a weight is an integer.
    """
    check_trainable(body)
    names = family(body)
    return [_parts(layer, names) for layer in stack(body)[1]]


def token_pruning(body: nn.Module) -> TokenPruningEncoder | None:
    """Return the part of `body` whose layers drop tokens, if there is one."""
    return next((module for module in body.modules() if isinstance(module, TokenPruningEncoder)), None)


def check_all_tokens(body: nn.Module) -> None:
    """Check that every layer sees all tokens of a row.

    Raises:
        ModelError: tokens are pruned.
    """
    if token_pruning(body) is not None:
        raise ModelError(
            "layers must see all tokens to be cut, compared or imitated, got layers that drop some; put prune=tokens "
            "after the stages that do this, once, and before quantize="
        )


def check_token_pruning(network: nn.Module) -> None:
    """Check that the layers of a network may drop tokens.

    Raises:
        ConfigError: it answers every token, or its layers know where tokens stand.
        ModelError: tokens are pruned already, or the parts of layers are not known.
    """
    body: Any = network.body
    layers(body)
    kind = body.config.model_type
    if kind not in TOKEN_PRUNABLE:
        raise ConfigError(
            f"prune=tokens needs positions in the embeddings alone ({', '.join(TOKEN_PRUNABLE)}), got {kind}, whose "
            "layers read them too, or whose parts are others; use prune=structured, prune=depth or quantize="
        )
    if network.pooling.name == "none":  # type: ignore[union-attr]
        raise ConfigError(
            "prune=tokens needs one answer a row, got a tagger, which answers every token; use prune=structured, "
            "prune=depth or quantize="
        )


def linear_names(body: nn.Module) -> list[dict[str, str]]:
    """Return, layer by layer, the dotted names in `body` of the parts in `LINEARS`, as far as present.

    Raises as `family`.
    """
    name, stacked = stack(body)
    names: Any = family(body)
    roles = {role: getattr(names, role) for role in LINEARS}
    return [
        {role: f"{name}.{number}.{own}" for role, own in roles.items() if own is not None}
        for number in range(len(stacked))
    ]


def reading_places(body: nn.Module) -> list[ReadingPlace]:
    """Return every place where the hidden state is read: one that belongs to no layer, then two per layer.

    Where norms come after each block, that is the output of the embeddings, of attention and of the FFN. Where they
    come before, it is the output of the last norm, and of the norms before attention and FFN. Raises as `layers`.
    """
    names, found = family(body), layers(body)
    attentions = [(layer.query, layer.key, layer.value) for layer in found]
    if names.final_norm is not None:
        first = [ReadingPlace(body.get_submodule(names.final_norm), ())]
        return first + [
            reading
            for layer, attention in zip(found, attentions, strict=True)
            for reading in (
                ReadingPlace(layer.attention_norm, attention),
                ReadingPlace(layer.output_norm, layer.by_unit),
            )
        ]
    projection = embedding_projection(body)
    start = embedding_parts(body)[1] if projection is None else projection
    places = [ReadingPlace(cast(nn.Module, start), attentions[0])]
    for layer, after in zip(found, [*attentions[1:], ()], strict=True):
        places += [ReadingPlace(layer.attention_norm, layer.by_unit), ReadingPlace(layer.output_norm, after)]
    return places


def reads_before(body: nn.Module) -> bool:
    """Return whether norms come before attention and FFN; `reading_places` then begins with the last of a pass."""
    return family(body).final_norm is not None


def norms(body: nn.Module) -> list[nn.LayerNorm]:
    """Return the norms over the hidden state of tokens. Raises as `layers`."""
    names = family(body)
    found = [norm for layer in layers(body) for norm in (layer.attention_norm, layer.output_norm)]
    if names.final_norm is not None:
        found.append(body.get_submodule(names.final_norm))
    if embedding_projection(body) is None and names.embedding_norm is not None:
        found.insert(0, body.get_submodule(names.embedding_norm))
    return [norm for norm in found if isinstance(norm, nn.LayerNorm)]


def hidden_extras(body: nn.Module) -> tuple[list[nn.Embedding], list[nn.LayerNorm]]:
    """Return tables and norms as wide as the hidden state through which no token goes: of relative positions."""
    modules, names = dict(body.named_modules()), family(body)
    table, norm = modules.get(names.hidden_table or "-"), modules.get(names.hidden_norm or "-")
    return [table] if isinstance(table, nn.Embedding) else [], [norm] if isinstance(norm, nn.LayerNorm) else []


def check_trainable(network: nn.Module) -> None:
    """Check that all weights are floats: integers have no gradient and cannot be sliced.

    Raises:
        ModelError: a weight is an integer.
    """
    integer = [name for name, parameter in network.named_parameters() if not parameter.is_floating_point()]
    if integer:
        raise ModelError(
            f"weights must be floats to train, prune or factorise, got {len(integer)} integer weights ({integer[0]}, "
            "...); move quantisation to the end, or start from a stage before it"
        )


def set_heads(body: nn.Module, layer: Layer, kept: Sequence[int]) -> None:
    """Tell the attention module which of its heads are left, for its own use and that of other software."""
    for name in ("num_attention_heads", "n_heads"):
        if hasattr(layer.attention, name):
            setattr(layer.attention, name, len(kept))
    if hasattr(layer.attention, "all_head_size"):
        layer.attention.all_head_size = len(kept) * layer.head_size  # type: ignore[assignment]
    if family(body).shares_bias:
        layer.attention.register_forward_pre_hook(_OwnBias(list(kept)))


class _OwnBias:
    """A hook that takes the kept heads out of the bias that all layers share; one more is added at every cut."""

    def __init__(self, kept: list[int]) -> None:
        self.kept = kept

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, mask, bias, *rest = inputs
        return (hidden, mask, bias[:, self.kept], *rest)


def embedding_parts(body: nn.Module) -> tuple[list[nn.Embedding], nn.LayerNorm | None]:
    """Return the embedding tables (word, position, segment, as far as present), and the norm after them, if any.

    A factorised table is not among them: see `low_rank_embedding`.
    """
    tables = [module for module in cast(nn.Module, body.embeddings).children() if isinstance(module, nn.Embedding)]
    name = family(body).embedding_norm
    return tables, None if name is None else cast(nn.LayerNorm, body.get_submodule(name))


def position_embeddings(body: nn.Module) -> nn.Embedding | None:
    """Return the position table; None for families with relative positions only.

    RoBERTa does not use its first rows, up to the id of its padding token.
    """
    return cast(nn.Embedding | None, getattr(body.embeddings, "position_embeddings", None))


def segment_embeddings(body: nn.Module) -> nn.Embedding | None:
    """Return the segment table, of which clinlm uses the first row; None where there is none (DistilBERT)."""
    return cast(nn.Embedding | None, getattr(body.embeddings, "token_type_embeddings", None))


def embedding_projection(body: nn.Module) -> nn.Linear | None:
    """Return the projection to the hidden state of embeddings with a width of their own (ELECTRA); else None."""
    return cast(nn.Linear | None, getattr(body, "embeddings_project", None))


def word_embeddings_name(body: nn.Module) -> str:
    """Return the dotted name in `body` of the word embeddings, factorised or not."""
    wanted = cast(Any, body).get_input_embeddings()
    name: str = next(name for name, module in body.named_modules() if module is wanted)
    return name


def low_rank_embedding(body: nn.Module) -> LowRankEmbedding | None:
    """Return the word embeddings if they are factorised; else None."""
    words = cast(Any, body).get_input_embeddings()
    return words if isinstance(words, LowRankEmbedding) else None


def token_tables(body: nn.Module) -> list[nn.Embedding]:
    """Return the tables with one row per token: word embeddings (if factorised, the narrow table), token weights.

    Raises:
        ModelError: a table was quantised.
    """
    words = cast(Any, body).get_input_embeddings()
    tables = [words.table if isinstance(words, LowRankEmbedding) else words]
    tables += [table for table in (getattr(body, "weights", None),) if isinstance(table, nn.Module)]
    for table in tables:
        if not isinstance(table, nn.Embedding):
            raise ModelError(
                f"embeddings must be a float table, got {type(table).__name__}; move quantisation to the end"
            )
    return tables


def word_embeddings(body: nn.Module) -> nn.Embedding:
    """Return the table with one vector per token. Raises as `token_tables`."""
    return token_tables(body)[0]


def filters(body: nn.Module) -> list[nn.Linear]:
    """Return the convolutions of a `TextCnnModel`, as linear layers over windows, one per width.

    Raises:
        ModelError: another architecture, or a weight is an integer.
    """
    check_trainable(body)
    found = getattr(body, "filters", None)
    if not isinstance(found, nn.ModuleList):
        raise ModelError(
            f"prune=filters needs a convolutional network, got {type(body).__name__}; set model@student=text_cnn, or "
            "use a method that prunes FFN units, heads or layers"
        )
    return cast(list[nn.Linear], list(found))


def hidden_size(body: nn.Module) -> int:
    """Return the width of the hidden state, from the tensors.

    Raises:
        ModelError: as `family`.
    """
    return layers(body)[0].query.in_features


def writers(body: nn.Module) -> list[Float[Tensor, "hidden inputs"]]:
    """Return the weights that write to the hidden state, hidden dimension first: embeddings, attention, FFN.

    Raises:
        ModelError: as `family`.
    """
    projection, factors = embedding_projection(body), low_rank_embedding(body)
    first = [projection.weight] if projection is not None else [table.weight.T for table in embedding_parts(body)[0]]
    first += [factors.up.weight] if projection is None and factors is not None else []
    return first + [linear.weight for layer in layers(body) for linear in (layer.attention_output, layer.down)]


def position_projections(body: nn.Module) -> list[nn.Module]:
    """Return the layers that read a table of relative positions and nothing else: their outputs are constants."""
    found = FAMILIES.get(getattr(body.config, "model_type", ""))
    if found is None:
        return []
    modules = dict(body.named_modules())
    return [module for name, module in modules.items() if name.endswith(found.positions)] if found.positions else []


def layer_settings(config: Any, numbers: Sequence[int]) -> dict[str, Any]:
    """Return the settings of a transformers configuration that change if only the layers `numbers` are left.

    ModernBERT's `layer_types` say which layers see all tokens and which only near ones.
    """
    changed: dict[str, Any] = {}
    if getattr(config, "layer_types", None) is not None:
        changed["layer_types"] = [config.layer_types[number] for number in numbers]
    return changed | {"n_layers" if hasattr(config, "n_layers") else "num_hidden_layers": len(numbers)}


def _parts(layer: nn.Module, names: Family) -> Layer:
    modules: dict[str, Any] = dict(layer.named_modules())
    wanted = [getattr(names, role) for role in _ROLES]
    if not all(name in modules for name in wanted):
        raise ModelError(
            f"encoder layers must have {', '.join(wanted)}, got {type(layer).__name__}; correct its names in "
            "clinlm/models/families.py"
        )
    return Layer(
        module=layer,
        gate=None if names.gate is None else modules[names.gate],
        positions=tuple(modules[name] for name in names.positions if name in modules),
        head_size=int(getattr(modules[names.attention], names.head_size)),
        **dict(zip(_ROLES, (modules[name] for name in wanted), strict=True)),
    )
