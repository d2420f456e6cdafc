"""Families of encoders that clinlm fine-tunes, by the `model_type` of transformers, and how long their rows may be.

Every family here is tested: its longest row runs, one more token does not fit, and padding changes no answer. Which
methods can cut which family is in `clinlm.models.structure`.
"""

from collections.abc import Mapping
from typing import Any

from clinlm.config.errors import ModelError

_OWN = frozenset({"clinlm_dilated_cnn", "clinlm_text_cnn", "clinlm_token_vectors"})
"""Networks of `clinlm.models.architectures`, which no checkpoint of transformers is."""

_FROM_ZERO = frozenset({
    *("albert", "bert", "big_bird", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "eurobert"),
    *("megatron-bert", "mobilebert", "modernbert", "nomic_bert", "rembert"),
})  # fmt: skip
"""Their positions are counted from 0."""

_AFTER_PADDING = frozenset({
    *("camembert", "data2vec-text", "esm", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl"),
})  # fmt: skip
"""Their positions are counted from the id of the padding token + 1; the rows of the table before that are idle."""

FINE_TUNABLE = _FROM_ZERO | _AFTER_PADDING
"""Families of transformers that a checkpoint may be of."""

READS_PADDING = frozenset({"convbert", "mobilebert"})
"""Their convolutions reach the padding behind a short row, so that answers depend on the other rows of the batch."""

_REFUSED = {
    "funnel": "its hidden states are shorter than its rows",
    "squeezebert": "it cannot run without its pooler",
    "xlnet": "its memory and its order of tokens are not BERT's",
    "fnet": "it has no attention mask, so that padding changes its answers",
    "canine": "it reads characters, and has no tokens",
    "nystromformer": "it reads rows of one length only",
    "yoso": "its attention is drawn at random",
}  # fmt: skip


def check_family(config: Mapping[str, Any], place: str) -> None:
    """Check that a network of a transformers configuration can be fine-tuned.

    Args:
        config: as in `config.json`, with its `model_type`.
        place: of the checkpoint, for the message.

    Raises:
        ModelError: it is a decoder, has one, or is of a family that is not in `FINE_TUNABLE`.
    """
    family, decodes = config["model_type"], config.get("is_decoder", False)
    if family in FINE_TUNABLE | _OWN and not decodes:
        return
    named = config.get("architectures")
    named = named if isinstance(named, list) else []
    why = _REFUSED.get(family, "clinlm does not know how it counts positions and reads padding")
    if config.get("is_encoder_decoder", False):
        why = "it has a decoder"
    elif decodes or any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in named):
        why = "it reads from left to right only"
    raise ModelError(
        f"{place} must be an encoder of a family that clinlm fine-tunes, got {family}: {why}; choose a checkpoint of "
        f"{', '.join(sorted(FINE_TUNABLE))}"
    )


def max_positions(config: Any) -> int:
    """Return how many tokens a row may have according to a transformers configuration, special tokens included."""
    return int(config.max_position_embeddings) - idle_positions(config)


def idle_positions(config: Any) -> int:
    """Return how many rows of the position table come before the first that is used."""
    return padding_of_positions(config) + 1 if config.model_type in _AFTER_PADDING else 0


def padding_of_positions(config: Any) -> int:
    """Return the token id at which positions are not counted, in a family that counts them after padding.

    Raises:
        ModelError: the configuration names none.
    """
    if config.model_type != "mpnet" and config.pad_token_id is None:
        raise ModelError(
            f"config.json must name the pad_token_id, from which {config.model_type} counts positions, it does not; "
            "copy it from the tokenizer"
        )
    return 1 if config.model_type == "mpnet" else int(config.pad_token_id)
