"""Where a transformer encoder keeps its parts, by role: the only file that knows architectures by attribute names."""

from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.models.layers.low_rank_embedding import LowRankEmbedding


@dataclass(frozen=True)
class Layer:
    """The parts of one encoder layer. Widths are read from the tensors: pruning changes them, not the configuration.

    Attributes:
        query, key, value: Linear, hidden -> heads x head_size.
        attention_output: Linear, heads x head_size -> hidden.
        attention_norm: LayerNorm over hidden, after attention.
        up: Linear, hidden -> FFN units. Row i of its weight is the input of unit i.
        down: Linear, FFN units -> hidden. Column i of its weight is the output of unit i.
        output_norm: LayerNorm over hidden, after the FFN.
        attention: the module that splits what query, key and value compute into heads.
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
        """Numbers a head and token."""
        return cast(int, self.attention.attention_head_size)

    @property
    def heads(self) -> int:
        """Attention heads that are there."""
        return self.query.out_features // self.head_size


# Dotted names inside one layer, in the order of the fields of `Layer`. BERT's names also serve RoBERTa, ELECTRA and
# their clinical descendants (BioLinkBERT, Bio_ClinicalBERT, CORe); DistilBERT is the one common encoder that renamed
# everything.
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
"""The fields of `Layer` that are linear."""


def stack(body: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the dotted name and the list of encoder layers of `body`.

    Raises:
        ValueError: the architecture is not BERT-like or DistilBERT.
    """
    modules = dict(body.named_modules())
    for name in _STACKS:
        if isinstance(modules.get(name), nn.ModuleList):
            return name, cast(nn.ModuleList, modules[name])
    raise ValueError(
        f"structural edits need an encoder that keeps its layers under one of {_STACKS}; {type(body).__name__} does "
        "not; use a BERT-like or DistilBERT model, or a method that does not change its layers (a TextCnn has "
        "prune=filters)"
    )


def layers(body: nn.Module) -> list[Layer]:
    """Return the parts of every encoder layer of `body`, first layer first.

    Raises:
        ValueError: the architecture is not BERT-like or DistilBERT, or its weights are integers.
    """
    check_trainable(body)
    return [_parts(layer) for layer in stack(body)[1]]


def linear_names(body: nn.Module) -> list[dict[str, str]]:
    """Return, layer by layer, the dotted name in `body` of every part named in `LINEARS`.

    Raises:
        ValueError: the architecture is not BERT-like or DistilBERT.
    """
    name, stacked = stack(body)
    roles = [field.name for field in fields(Layer)]
    found = []
    for number, layer in enumerate(stacked):
        names = dict(zip(roles, _names(layer), strict=True))
        found.append({role: f"{name}.{number}.{names[role]}" for role in LINEARS})
    return found


def check_trainable(network: nn.Module) -> None:
    """Raise unless every weight is a floating-point number: integers have no gradient, and nothing here slices them.

    Raises:
        ValueError: a weight is an integer.
    """
    integer = {name: one.dtype for name, one in network.named_parameters() if not one.is_floating_point()}
    if integer:
        kind = "INT4" if torch.uint8 in integer.values() else "INT8"
        raise ValueError(
            f"after {kind} nothing trains and no method changes a network: prune, factorise, distil and recover come "
            f"before; {len(integer)} weights are integers, {next(iter(integer))} the first; move quantisation to the "
            "end, or start from a stage before it"
        )


def set_heads(layer: Layer, heads: int) -> None:
    """Tell the attention module its number of heads: forward reads the tensors, other software may read the number."""
    for name in _HEADS:
        if hasattr(layer.attention, name):
            setattr(layer.attention, name, heads)
    if hasattr(layer.attention, "all_head_size"):
        layer.attention.all_head_size = heads * layer.head_size  # type: ignore[assignment]


def embedding_parts(body: nn.Module) -> tuple[list[nn.Embedding], nn.LayerNorm]:
    """Return the embedding tables (word, position, segment: those there are) and the norm after them.

    A factorised table is none of them: see `low_rank_embedding`.
    """
    embeddings = cast(nn.Module, body.embeddings)
    tables = [module for module in embeddings.children() if isinstance(module, nn.Embedding)]
    return tables, cast(nn.LayerNorm, embeddings.LayerNorm)


def position_embeddings(body: nn.Module) -> nn.Embedding:
    """Return the table with one vector a position. RoBERTa's first ones, up to its padding token's number, are idle."""
    return cast(nn.Embedding, cast(Any, body).embeddings.position_embeddings)


def segment_embeddings(body: nn.Module) -> nn.Embedding | None:
    """Return the table of segments (of which clinlm uses the first), where there is one: DistilBERT has none."""
    return cast(nn.Embedding | None, getattr(body.embeddings, "token_type_embeddings", None))


def embedding_projection(body: nn.Module) -> nn.Linear | None:
    """Return what widens embeddings to the hidden state, where they have a width of their own (ELECTRA); else None."""
    return cast(nn.Linear | None, getattr(body, "embeddings_project", None))


def word_embeddings_name(body: nn.Module) -> str:
    """Return the dotted name in `body` of what looks up the vector of a token, factorised or not."""
    wanted = cast(Any, body).get_input_embeddings()
    name: str = next(name for name, module in body.named_modules() if module is wanted)
    return name


def low_rank_embedding(body: nn.Module) -> LowRankEmbedding | None:
    """Return the word embeddings where they are factorised; else None."""
    words = cast(Any, body).get_input_embeddings()
    return words if isinstance(words, LowRankEmbedding) else None


def token_tables(body: nn.Module) -> list[nn.Embedding]:
    """Return the tables with one row a token: the word embeddings, and the weights of tokens where there are some.

    Of factorised word embeddings it is the narrow table.

    Raises:
        ValueError: a table is none of floats: it was quantised.
    """
    words = cast(Any, body).get_input_embeddings()
    tables = [words.table if isinstance(words, LowRankEmbedding) else words]
    tables += [table for table in (getattr(body, "weights", None),) if isinstance(table, nn.Module)]
    for table in tables:
        if not isinstance(table, nn.Embedding):
            raise ValueError(
                f"a vocabulary is changed before its embeddings are quantised; here they are a {type(table).__name__}; "
                "move quantisation to the end"
            )
    return tables


def word_embeddings(body: nn.Module) -> nn.Embedding:
    """Return the table with one vector a token. Raises as `token_tables`."""
    return token_tables(body)[0]


def filters(body: nn.Module) -> list[nn.Linear]:
    """Return the convolutions of a `TextCnn`, as linear layers over windows, one for every width.

    Raises:
        ValueError: another architecture, or its weights are integers.
    """
    check_trainable(body)
    found = getattr(body, "filters", None)
    if not isinstance(found, nn.ModuleList):
        raise ValueError(
            f"filters are those of a convolutional network (model@student=text_cnn); {type(body).__name__} has none; "
            "use a method that cuts FFN units, heads or layers"
        )
    return cast(list[nn.Linear], list(found))


def hidden_size(body: nn.Module) -> int:
    """Return the width of the hidden state, read from the tensors.

    Raises:
        ValueError: the architecture is not BERT-like or DistilBERT.
    """
    return layers(body)[0].query.in_features


def writers(body: nn.Module) -> list[Float[Tensor, "hidden inputs"]]:
    """Return every weight that writes to the hidden state, the hidden dimension first: embeddings, attention, FFN.

    Raises:
        ValueError: the architecture is not BERT-like or DistilBERT.
    """
    projection, factors = embedding_projection(body), low_rank_embedding(body)
    first = [projection.weight] if projection is not None else [table.weight.T for table in embedding_parts(body)[0]]
    first += [factors.up.weight] if projection is None and factors is not None else []
    return first + [linear.weight for layer in layers(body) for linear in (layer.attention_output, layer.down)]


def layer_attribute(config: Any) -> str:
    """Return the name under which a transformers configuration counts its layers."""
    return "n_layers" if hasattr(config, "n_layers") else "num_hidden_layers"


def _parts(layer: nn.Module) -> Layer:
    modules = dict(layer.named_modules())
    return Layer(*(cast(Any, modules[name]) for name in _names(layer)))


def _names(layer: nn.Module) -> tuple[str, ...]:
    modules = dict(layer.named_modules())
    for names in _NAMES:
        if all(name in modules for name in names):
            return names
    raise ValueError(
        f"structural edits know the layers of BERT-like and DistilBERT models; {type(layer).__name__} is neither; "
        "add its attribute names to clinlm/models/structure.py"
    )
