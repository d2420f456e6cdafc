"""Small configurations of every family that can be fine-tuned."""

from typing import Any

_BERT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 20,
}
_ROBERTA = _BERT | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_DEBERTA = _BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
_ENDS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "albert": _BERT | {"embedding_size": 8},
    "bert": _BERT,
    "big_bird": _BERT | {"attention_type": "original_full"},
    "camembert": _ROBERTA,
    "convbert": _BERT | {"embedding_size": 16, "head_ratio": 1, "conv_kernel_size": 3},
    "data2vec-text": _ROBERTA,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA | {"position_buckets": 16},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "vocab_size": 40}
    | {"max_position_embeddings": 20},
    "electra": _BERT | {"embedding_size": 8},
    "ernie": _BERT,
    "esm": _ROBERTA | {"mask_token_id": 4},
    "eurobert": _BERT | {"head_dim": 8, "num_key_value_heads": 2, "pad_token_id": 0} | _ENDS,
    "longformer": _ROBERTA | {"attention_window": [8, 8]},
    "luke": _ROBERTA | {"entity_vocab_size": 10, "entity_emb_size": 8},
    "megatron-bert": _BERT,
    "mobilebert": _BERT
    | {"embedding_size": 8, "intra_bottleneck_size": 16, "true_hidden_size": 16, "num_feedforward_networks": 1},
    "modernbert": _BERT | {"pad_token_id": 0} | _ENDS,
    "mpnet": _BERT | {"pad_token_id": 1},
    "nomic_bert": _BERT,
    "rembert": _BERT | {"input_embedding_size": 8, "output_embedding_size": 8},
    "roberta": _ROBERTA,
    "roberta-prelayernorm": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "xlm-roberta-xl": _ROBERTA,
}
