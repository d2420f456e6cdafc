"""Whether a student's tokens are its teacher's, and what the teacher calls them."""

import json

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_CUTS = ("normalizer", "pre_tokenizer")
"""What prepares a text, beside the kind of model, before it is cut into pieces of the vocabulary."""


def same_tokens(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> Int[Tensor, " tokens"]:
    """Return what the teacher calls each token of the student, whose vocabulary is the teacher's or part of it.

    The teacher then reads a text cut as the student cuts it: as it would itself, if no token of it was trimmed away.

    Raises:
        ValueError: the student has tokens of its own, or prepares a text in another way.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    own = ours.keys() - theirs.keys()
    told = [json.loads(one.backend_tokenizer.to_str()) for one in (student, teacher)]
    ways = [(one["model"]["type"], *(one[name] for name in _CUTS)) for one in told]
    if own or ways[0] != ways[1]:
        why = (
            f"{len(own):,} of the student's {len(ours):,} tokens are not its teacher's"
            if own
            else "they normalize text differently"
        )
        raise ValueError(
            f"hidden_state_loss compares token by token, so student and teacher must read the same tokens; {why}; set "
            "hidden_state_loss=none, or choose a student with its teacher's tokenizer, whole or trimmed "
            "(model@student=teacher_layers, tinybert, factorized)"
        )
    numbers = torch.zeros(max(ours.values()) + 1, dtype=torch.long)
    for token, number in ours.items():
        numbers[number] = theirs[token]
    return numbers
