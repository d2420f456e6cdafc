"""Encoder families whose layers clinlm can cut, by `model_type`: names of their parts, and why others are refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final


@dataclass(frozen=True)
class Family:
    """Names of the parts of an encoder: dotted, those of the body first, then those in each of its layers.

    Attributes:
        stack: list of layers, in the body.
        embedding_norm: LayerNorm after the embeddings; None where there is none.
        final_norm: LayerNorm after the last layer, in families with norms before attention and FFN; None where each
            norm comes after its block.
        hidden_table, hidden_norm: a further table as wide as the hidden state, and its norm; each may be absent.
        shares_bias: whether all layers add one bias, computed once per head, to their attention scores.
        unlike: name of a module -> why a network that has it cannot be cut.
        query, key, value, attention_output, attention_norm, up, down, output_norm, attention: see
            `clinlm.models.structure.Layer`.
        gate: as `up`; its outputs multiply the activations.
        positions: projections of relative positions with one row per row of `query`; each may be absent.
        head_size: attribute of `attention` with the width of one head.
        parts: a fused linear layer -> names of the equally wide linear layers that it is split into.
    """

    stack: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    up: str
    down: str
    output_norm: str
    attention: str
    embedding_norm: str | None = "embeddings.LayerNorm"
    final_norm: str | None = None
    hidden_table: str = ""
    hidden_norm: str = ""
    shares_bias: bool = False
    unlike: Mapping[str, str] = field(default_factory=dict)
    gate: str | None = None
    positions: tuple[str, ...] = ()
    head_size: str = "attention_head_size"
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_BERT: Final = Family(
    stack="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
    attention="attention.self",
)
_DISTILBERT: Final = Family(
    stack="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
    attention="attention",
)
_MEGATRON: Final = replace(
    _BERT, attention_norm="attention.ln", output_norm="ln", embedding_norm=None, final_norm="encoder.ln"
)
_MPNET: Final = replace(
    _BERT,
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    attention="attention.attn",
    shares_bias=True,
)
_DEBERTA: Final = replace(
    _BERT,
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    positions=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
    hidden_table="encoder.rel_embeddings",
    hidden_norm="encoder.LayerNorm",
    unlike={
        "encoder.conv": "a convolution follows its first layer",
        "embeddings.embed_proj": "its embeddings have a width of their own",
    },
)
_MODERNBERT: Final = Family(
    stack="layers",
    query="attn.Wqkv.query",
    key="attn.Wqkv.key",
    value="attn.Wqkv.value",
    attention_output="attn.Wo",
    attention_norm="attn_norm",
    up="mlp.Wi.up",
    gate="mlp.Wi.gate",
    down="mlp.Wo",
    output_norm="mlp_norm",
    attention="attn",
    embedding_norm="embeddings.norm",
    final_norm="final_norm",
    head_size="head_dim",
    parts={"attn.Wqkv": ("query", "key", "value"), "mlp.Wi": ("up", "gate")},
)

FAMILIES: Final[Mapping[str, Family]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
    "megatron-bert": _MEGATRON,
    "mpnet": _MPNET,
    "modernbert": _MODERNBERT,
    "deberta-v2": _DEBERTA,
}
"""`model_type` -> names of the parts. GatorTron is a megatron-bert, DeBERTa v3 a deberta-v2. What is not listed can be
fine-tuned, masked and quantised, but not cut: a family that looks like BERT may compute something else."""

UNCUTTABLE: Final[Mapping[str, str]] = {
    "albert": "all its layers share one set of weights",
    "big_bird": "its sparse attention reads blocks of tokens",
    "convbert": "half of its heads are convolutions",
    "deberta": "query, key and value are interleaved in one matrix",
    "longformer": "its global attention has further query, key and value matrices",
    "mobilebert": "its layers have bottlenecks and several feed-forward blocks",
}
"""Families that people try -> why they cannot be cut."""

TOKEN_PRUNABLE: Final = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")
"""Families whose layers may drop tokens: positions are in the embeddings, and attention sees a set. Others add relative
positions in every layer, or (megatron-bert) compose a layer differently."""
