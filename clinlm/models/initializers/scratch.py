"""Random weights and a vocabulary learnt from the training texts: needs no download."""

import string
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from clinlm.config.ranges import check_at_least
from clinlm.models.encoders import check_family
from clinlm.models.initializers.base import HeadBias, Initializer, plain_config, sketched, with_head
from clinlm.models.model import Model, ModelSpec, PoolingName, in_parts
from clinlm.tasks.base import Task
from clinlm.text.group_floor import GroupFloor, LearntTerms

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@final
class Scratch(Initializer):
    """A randomly initialised encoder with a WordPiece vocabulary trained on the task's training texts.

    Trained on words that `task.min_groups` groups (patients) have: other words are spelled by their pieces.

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
        pieces, learnt = _word_pieces(task.texts("train"), self.vocabulary, task.floor)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=pieces._tokenizer,
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
        spec = ModelSpec(plain_config(config), task.outputs, network.pooling.name, self.dropout)
        return Model(spec, network, tokenizer, learnt=learnt)

    def sketch(self, teacher: Model | None) -> Model:
        return sketched(self.config | {"vocab_size": self.vocabulary, "pad_token_id": 0})

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: settings, task and seed determine everything."""
        return "scratch"


def _word_pieces(texts: list[str], size: int, floor: GroupFloor) -> tuple[BertWordPieceTokenizer, LearntTerms]:
    """Return a tokenizer whose vocabulary is learnt from `texts`, deterministically across processes.

    It is learnt from the words of enough groups only, so that every piece but single characters is part of such a word.
    """
    learner = BertWordPieceTokenizer(lowercase=True)
    normalize = learner._tokenizer.normalizer.normalize_str
    letters = {letter for text in texts for letter in normalize(text) if not letter.isspace()} - set(string.punctuation)
    # The trainer numbers inner letters in hash table order, which differs between runs, and breaks ties between merges
    # by these numbers. Listing the letters beforehand fixes both.
    inner = [f"##{letter}" for letter in sorted(letters)]
    common, rare = _common_words(learner, texts, floor)
    learner.train_from_iterator(
        common,
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[*_SPECIAL, *inner],
        initial_alphabet=sorted(letters),
    )
    # Rebuilt from the vocabulary: the inner letters must not be special tokens, and rows need [CLS] and [SEP].
    vocabulary = learner.get_vocab()
    learnt = sum(len(piece.removeprefix("##")) > 1 for piece in vocabulary.keys() - {*_SPECIAL})
    floor.warn(learnt, rare, "word")
    return BertWordPieceTokenizer(vocabulary, lowercase=True), LearntTerms(learnt, rare, floor.least)


def _common_words(learner: BertWordPieceTokenizer, texts: list[str], floor: GroupFloor) -> tuple[Iterator[str], int]:
    """Return the texts with only the words of enough groups, and how many other words there are."""
    split, normalize = learner._tokenizer.pre_tokenizer.pre_tokenize_str, learner._tokenizer.normalizer.normalize_str

    def words(text: str) -> list[str]:
        return [word for word, _ in split(normalize(text))]

    groups, last = Counter[str](), dict[str, int]()
    for place in np.argsort(floor.groups, kind="stable").tolist():  # group by group
        own = int(floor.groups[place])
        new = [word for word in {*words(texts[place])} if last.get(word) != own]
        groups.update(new)
        last.update(dict.fromkeys(new, own))
    common = {word for word, count in groups.items() if count >= floor.least}
    kept = (" ".join(word for word in words(text) if word in common) for text in texts)
    return kept, len(groups) - len(common)
