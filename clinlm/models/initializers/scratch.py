"""Random weights and a vocabulary learnt from the training texts: no download, no package."""

import string
from collections.abc import Mapping
from typing import Any, final

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from clinlm.models.initializers.base import HeadBias, Initializer, plain_config, with_head
from clinlm.models.model import Model, ModelSpec, PoolingName, without_pooler
from clinlm.tasks.base import Task

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@final
class Scratch(Initializer):
    """A randomly started encoder, with a WordPiece vocabulary trained on the task's training texts.

    Args:
        config: a transformers configuration with its `model_type`; the vocabulary size is filled in.
        vocabulary: most entries, special tokens included; at least 100.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        vocabulary: int = 8000,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        if vocabulary < 100:
            raise ValueError(f"a vocabulary holds at least 100 entries; got {vocabulary}")
        self.config, self.vocabulary = dict(config), vocabulary
        self.pooling, self.dropout, self.head_bias = pooling, dropout, head_bias

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=_word_pieces(task.texts("train"), self.vocabulary)._tokenizer,
            unk_token="[UNK]",
            pad_token="[PAD]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
        )
        known = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        config = AutoConfig.for_model(**self.config | known)
        body = without_pooler(AutoModel.from_config(config, dtype=torch.float32))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return Model(
            ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout), network, tokenizer
        )

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: everything follows from the settings, the task and the seed."""
        return "scratch"


def _word_pieces(texts: list[str], size: int) -> BertWordPieceTokenizer:
    """Return the tokenizer whose vocabulary is learnt from `texts`: the same from the same texts, in every process."""
    learner = BertWordPieceTokenizer(lowercase=True)
    normalize = learner._tokenizer.normalizer.normalize_str
    letters = {letter for text in texts for letter in normalize(text) if not letter.isspace()} - set(string.punctuation)
    # The trainer numbers inner letters in the order of a hash table, which every run shuffles anew, and breaks the ties
    # between merges by these numbers. Naming them beforehand fixes both.
    inner = [f"##{letter}" for letter in sorted(letters)]
    learner.train_from_iterator(
        texts, vocab_size=size, min_frequency=2, show_progress=False, special_tokens=[*_SPECIAL, *inner]
    )
    # Begun anew from the vocabulary: the inner letters are no special tokens, and rows get their [CLS] and [SEP].
    return BertWordPieceTokenizer(learner.get_vocab(), lowercase=True)
