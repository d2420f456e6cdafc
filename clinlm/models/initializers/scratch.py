"""Random weights and a vocabulary learnt from the training texts: needs no download."""

import string
from collections.abc import Mapping
from typing import Any, final

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from clinlm.config.ranges import check_at_least
from clinlm.models.encoders import check_family
from clinlm.models.initializers.base import HeadBias, Initializer, plain_config, sketched, with_head
from clinlm.models.model import Model, ModelSpec, PoolingName, in_parts
from clinlm.tasks.base import Task

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@final
class Scratch(Initializer):
    """A randomly initialised encoder with a WordPiece vocabulary trained on the task's training texts.

    Args:
        config: a transformers configuration with its `model_type`; the vocabulary size is filled in.
        vocabulary: maximum number of entries, special tokens included; at least 100.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.

    Raises:
        ConfigError: `vocabulary` below 100.
        ModelError: `config` is not of an encoder that can be fine-tuned.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        vocabulary: int = 8000,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        check_at_least("vocabulary", vocabulary, 100)
        check_family(config, "config.model_type")
        self.config, self.vocabulary = dict(config), vocabulary
        self.pooling, self.dropout, self.head_bias = pooling, dropout, head_bias

    def begin(self, task: Task, teacher: Model | None) -> Model:
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
        body = in_parts(AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return Model(
            ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout), network, tokenizer
        )

    def sketch(self, teacher: Model | None) -> Model:
        return sketched(self.config | {"vocab_size": self.vocabulary, "pad_token_id": 0})

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: settings, task and seed determine everything."""
        return "scratch"


def _word_pieces(texts: list[str], size: int) -> BertWordPieceTokenizer:
    """Return a tokenizer whose vocabulary is learnt from `texts`, deterministically across processes."""
    learner = BertWordPieceTokenizer(lowercase=True)
    normalize = learner._tokenizer.normalizer.normalize_str
    letters = {letter for text in texts for letter in normalize(text) if not letter.isspace()} - set(string.punctuation)
    # The trainer numbers inner letters in hash table order, which differs between runs, and breaks ties between merges
    # by these numbers. Listing the letters beforehand fixes both.
    inner = [f"##{letter}" for letter in sorted(letters)]
    learner.train_from_iterator(
        texts, vocab_size=size, min_frequency=2, show_progress=False, special_tokens=[*_SPECIAL, *inner]
    )
    # Rebuilt from the vocabulary: the inner letters must not be special tokens, and rows need [CLS] and [SEP].
    return BertWordPieceTokenizer(learner.get_vocab(), lowercase=True)
