"""One small network of every family whose anatomy is known, with weights that leave no part idle."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from jaxtyping import Int
from torch import Tensor

from clinlm.models.model import ModelSpec, Network, PoolingName

HIDDEN, UNITS, LAYERS, VOCABULARY = 16, 12, 3, 40
_BERT = {
    "hidden_size": HIDDEN,
    "num_attention_heads": 2,
    "num_hidden_layers": LAYERS,
    "intermediate_size": UNITS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 24,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert"} | _BERT,
    "roberta": {"model_type": "roberta", "pad_token_id": 1} | _BERT,
    "electra": {"model_type": "electra", "embedding_size": HIDDEN} | _BERT,
    "electra_projected": {"model_type": "electra", "embedding_size": 6} | _BERT,
    "megatron": {"model_type": "megatron-bert"} | _BERT,
    "mpnet": {"model_type": "mpnet", "pad_token_id": 1} | _BERT,
    "modernbert": {
        "model_type": "modernbert",
        "pad_token_id": 0,
        "local_attention": 4,
        # special tokens that a small vocabulary has
        **dict.fromkeys(("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 2),
    }
    | _BERT,
    # As published: v2 has matrices for relative positions, v3 shares those of the content and has a norm.
    "deberta_v2": {
        "model_type": "deberta-v2",
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "max_relative_positions": 8,
    }
    | _BERT,
    "deberta_v3": {
        "model_type": "deberta-v2",
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_buckets": 4,
        "position_biased_input": False,
        "type_vocab_size": 0,
    }
    | _BERT,
    "distilbert": {
        "model_type": "distilbert",
        "dim": HIDDEN,
        "n_heads": 2,
        "n_layers": LAYERS,
        "hidden_dim": UNITS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 24,
    },
}
_LIKE_OTHERS = ("roberta", "electra", "megatron", "deberta_v3")
"""Families whose parts, names apart, are those of another one: `make integration` tests them."""
PARAMETERS = [
    pytest.param(name, marks=pytest.mark.integration) if name in _LIKE_OTHERS else name for name in sorted(CONFIGS)
]


def spec(family: str, pooling: PoolingName = "mean") -> ModelSpec:
    """Return the description of a network of 3 layers and 3 outputs."""
    return ModelSpec(CONFIGS[family], outputs=3, pooling=pooling)


def network(family: str, pooling: PoolingName = "mean", seed: int = 0) -> Network:
    """Return it with random weights, also where a fresh one has zeros and ones, in evaluation mode."""
    return copy.deepcopy(_network(family, pooling, seed))


@cache
def _network(family: str, pooling: PoolingName, seed: int) -> Network:
    return filled(spec(family, pooling).build(), seed)


def filled(built: Network, seed: int = 0) -> Network:
    """Return a fresh network in evaluation mode, no weight of which is 0 or 1."""
    built.eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) * 0.5 + (0.5 if parameter.ndim == 1 else 0)
            )
    return built


def config(model: Network) -> Any:
    """Return the transformers configuration of a network's encoder."""
    return model.body.config


def rows(family: str, seed: int = 0) -> tuple[Int[Tensor, "rows tokens"], Int[Tensor, "rows tokens"]]:
    """Return token ids and mask of rows of 9, 4 and 1 tokens."""
    pad = CONFIGS[family].get("pad_token_id", 0)
    lengths = torch.tensor([9, 4, 1])
    ids = torch.randint(2, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(9) < lengths[:, None]).long()
    return torch.where(mask == 1, ids, torch.full_like(ids, pad)), mask
