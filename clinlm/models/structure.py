"""Parts of a transformer encoder by role: the only file that uses the attribute names of architectures."""

from dataclasses import dataclass, fields
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from clinlm.config.errors import ModelError
from clinlm.models.layers.low_rank_embedding import LowRankEmbedding


@dataclass(frozen=True)
class Layer:
    """Parts of one encoder layer. Widths come from the tensors: pruning changes them, not the configuration.

    Attributes:
        query, key, value: Linear, hidden -> heads x head_size.
        attention_output: Linear, heads x head_size -> hidden.
        attention_norm: LayerNorm over hidden, after attention.
        up: Linear, hidden -> FFN units. Row i of its weight holds the input weights of unit i.
        down: Linear, FFN units -> hidden. Column i of its weight holds the output weights of unit i.
        output_norm: LayerNorm over hidden, after the FFN.
        attention: the module that splits query, key and value into heads.
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    attention_norm: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    output_norm: nn.LayerNorm
    attention: nn.Module

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return cast(int, self.attention.attention_head_size)

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.query.out_features // self.head_size


# Dotted names inside one layer, in the order of the fields of `Layer`. RoBERTa, ELECTRA and their clinical descendants
# (BioLinkBERT, Bio_ClinicalBERT, CORe) use BERT's names; DistilBERT is the one common encoder that renamed everything.
_NAMES = (
    (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
        "attention.self",
    ),
    (
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "sa_layer_norm",
        "ffn.lin1",
        "ffn.lin2",
        "output_layer_norm",
        "attention",
    ),
)
_STACKS = ("encoder.layer", "transformer.layer")
_HEADS = ("num_attention_heads", "n_heads")
LINEARS = ("query", "key", "value", "attention_output", "up", "down")
"""Fields of `Layer` that are linear layers."""


def stack(body: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the dotted name and the list of encoder layers of `body`.

    Raises:
        ModelError: the architecture is neither BERT-like nor DistilBERT.
    """
    modules = dict(body.named_modules())
    for name in _STACKS:
        if isinstance(modules.get(name), nn.ModuleList):
            return name, cast(nn.ModuleList, modules[name])
    raise ModelError(
        f"this method needs encoder layers under one of {_STACKS}, got {type(body).__name__}; use a BERT-like or "
        "DistilBERT model, or a method that does not change layers (for text_cnn: prune=filters)"
    )


def layers(body: nn.Module) -> list[Layer]:
    """Return the parts of every encoder layer of `body`, first layer first.

    Raises:
        ModelError: the architecture is neither BERT-like nor DistilBERT, or a weight is an integer.
    """
    check_trainable(body)
    return [_parts(layer) for layer in stack(body)[1]]


def linear_names(body: nn.Module) -> list[dict[str, str]]:
    """Return, layer by layer, the dotted names in `body` of the parts in `LINEARS`.

    Raises:
        ModelError: the architecture is neither BERT-like nor DistilBERT.
    """
    name, stacked = stack(body)
    roles = [field.name for field in fields(Layer)]
    found = []
    for number, layer in enumerate(stacked):
        names = dict(zip(roles, _names(layer), strict=True))
        found.append({role: f"{name}.{number}.{names[role]}" for role in LINEARS})
    return found


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


def set_heads(layer: Layer, heads: int) -> None:
    """Set the number of heads of the attention module, which `forward` does not need but other software may."""
    for name in _HEADS:
        if hasattr(layer.attention, name):
            setattr(layer.attention, name, heads)
    if hasattr(layer.attention, "all_head_size"):
        layer.attention.all_head_size = heads * layer.head_size  # type: ignore[assignment]


def embedding_parts(body: nn.Module) -> tuple[list[nn.Embedding], nn.LayerNorm]:
    """Return the embedding tables (word, position, segment, as far as present) and the norm after them.

    A factorised table is not among them: see `low_rank_embedding`.
    """
    embeddings = cast(nn.Module, body.embeddings)
    tables = [module for module in embeddings.children() if isinstance(module, nn.Embedding)]
    return tables, cast(nn.LayerNorm, embeddings.LayerNorm)


def position_embeddings(body: nn.Module) -> nn.Embedding:
    """Return the position table. RoBERTa does not use its first rows, up to the id of its padding token."""
    return cast(nn.Embedding, cast(Any, body).embeddings.position_embeddings)


def segment_embeddings(body: nn.Module) -> nn.Embedding | None:
    """Return the segment table, of which clinlm uses the first row; None for DistilBERT, which has none."""
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
        ModelError: the architecture is neither BERT-like nor DistilBERT.
    """
    return layers(body)[0].query.in_features


def writers(body: nn.Module) -> list[Float[Tensor, "hidden inputs"]]:
    """Return the weights that write to the hidden state, hidden dimension first: embeddings, attention, FFN.

    Raises:
        ModelError: the architecture is neither BERT-like nor DistilBERT.
    """
    projection, factors = embedding_projection(body), low_rank_embedding(body)
    first = [projection.weight] if projection is not None else [table.weight.T for table in embedding_parts(body)[0]]
    first += [factors.up.weight] if projection is None and factors is not None else []
    return first + [linear.weight for layer in layers(body) for linear in (layer.attention_output, layer.down)]


def layer_attribute(config: Any) -> str:
    """Return the attribute of a transformers configuration that holds the number of layers."""
    return "n_layers" if hasattr(config, "n_layers") else "num_hidden_layers"


def _parts(layer: nn.Module) -> Layer:
    modules = dict(layer.named_modules())
    return Layer(*(cast(Any, modules[name]) for name in _names(layer)))


def _names(layer: nn.Module) -> tuple[str, ...]:
    modules = dict(layer.named_modules())
    for names in _NAMES:
        if all(name in modules for name in names):
            return names
    raise ModelError(
        f"encoder layers must be those of BERT-like or DistilBERT models, got {type(layer).__name__}; add its "
        "attribute names to clinlm/models/structure.py"
    )
