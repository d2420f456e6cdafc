"""Words replaced by predictions of a masked-language model."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerBase

from clinlm.config.errors import ConfigError, MissingFileError
from clinlm.corpora.base import digest_files
from clinlm.models import structure
from clinlm.tasks.base import Task
from clinlm.text.tokens import uncut
from clinlm.training.augmentation.neighbours import count_words, mean_embeddings, neighbours
from clinlm.training.augmentation.substitution import Substitution, Words, negates

_MASKED = 0.15
"""Share of a row's tokens that is masked at once, as in BERT's training."""
_ROW = 512
"""Most tokens read at once."""
_FIRST = ("Ġ", "▁")
"""Prefixes of tokens at the start of a word, in tokenizers that do not mark those inside instead (WordPiece: ##)."""
Place = tuple[int, int]
"""Number of a word in its note, and number of its token."""


@final
class MaskedSubstitution(Substitution):
    """Training notes with some words replaced by those that a masked-language model finds likely there.

    Source    Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, algorithm 1: words of one piece by the model, others by
              neighbours among word vectors.
    Departs   15 % of a row's tokens are masked at once, not one; the word vectors are means of the model's embeddings
              of the word's pieces, not GloVe's; and as `Substitution`.
    Cost      2 or 3 passes of the model over every training document, for any number of texts: 0.4 s for 500 words
              and a model of 6 layers x 384, one thread. Then 1 ms a text.

    Args:
        name: a folder, or a hub name, of a model with a masked-language head.
        revision: of the hub repository; pin it to repeat a result. Ignored for folders.
        times, share, candidates, protected: see `Substitution`.

    Raises:
        ConfigError: as `Substitution`; (on drafting) the model has no such head, or no fast tokenizer.
        MissingFileError: (on drafting) it cannot be loaded or fetched.
    """

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        times: int = 4,
        share: float = 0.4,
        candidates: int = 15,
        protected: Sequence[str] = (),
    ) -> None:
        super().__init__(times, share, candidates, protected)
        self.name, self.revision = name, revision

    def fingerprint(self) -> str:
        if Path(self.name).is_dir():
            return digest_files(sorted(path for path in Path(self.name).rglob("*") if path.is_file()))
        return f"{self.name}@{self.revision}"

    def propose(
        self, texts: Sequence[str], notes: Sequence[Words], task: Task, seed: int
    ) -> Iterator[Sequence[Sequence[str]]]:
        tokenizer, model = self._loaded()
        words = count_words(notes)
        near = {}
        if words:
            vectors = mean_embeddings(words, tokenizer, structure.word_embeddings(model.base_model))
            near = neighbours(words, lambda word: not negates(word, words), self.candidates, vectors)
        reader = _Reader(tokenizer, model, self)
        for text, note in zip(texts, notes, strict=True):
            likely = reader.likely(text, note)
            yield [likely.get(number, near.get(word, ())) for number, word in enumerate(note)]

    def _loaded(self) -> tuple[PreTrainedTokenizerBase, Any]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.name, revision=self.revision, trust_remote_code=False)
            model, loading = AutoModelForMaskedLM.from_pretrained(
                self.name,
                revision=self.revision,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError) as error:
            raise MissingFileError(
                "augmentation.name must be a folder or hub name of a model with a masked-language head; "
                f"{self.name!r} cannot be loaded as one ({type(error).__name__}); set augmentation.name, or choose "
                "augmentation=neighbour_substitution"
            ) from error
        if loading["missing_keys"] or model.get_output_embeddings() is None:
            raise ConfigError(
                f"augmentation.name must be a model with a masked-language head; {self.name!r} has none; set "
                "augmentation.name, or choose augmentation=neighbour_substitution"
            )
        if not tokenizer.is_fast or tokenizer.mask_token_id is None:
            raise ConfigError(
                "augmentation.name must be a model with a fast tokenizer and a mask token; that of "
                f"{self.name!r} is not; choose another"
            )
        return tokenizer, model.eval()


class _Reader:
    """Reads notes with a masked-language model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: Any, settings: Substitution) -> None:
        self._model, self._mask, self._number = model, tokenizer.mask_token_id, settings.candidates
        self._at = torch.tensor([], dtype=torch.long)
        # Scores over the vocabulary are computed at masked places only: half of a small model's time.
        model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0][:, self._at],))
        self._tokenizer = uncut(tokenizer)
        frame = self._tokenizer.encode("").ids
        self._before, self._after = frame[: len(frame) // 2], frame[len(frame) // 2 :]
        # RoBERTa counts positions from 2.
        self._room = min(_ROW, model.config.max_position_embeddings - 2) - len(frame)
        self._words = _whole_words(tokenizer, model.config.vocab_size)
        known = set(self._words)
        self._banned = torch.tensor([not settings.free(word) or negates(word, known) for word in self._words])

    def likely(self, text: str, note: Words) -> dict[int, list[str]]:
        """Return the candidates for the words of a note that are one token, by the number of the word."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        places = _places(text, encoding.offsets, note)
        found: dict[int, list[str]] = {}
        for start in range(0, len(encoding.ids), self._room):
            row = torch.tensor([*self._before, *encoding.ids[start : start + self._room], *self._after])
            shift = len(self._before) - start
            here = [(number, token + shift) for number, token in places if start <= token < start + self._room]
            passes = min(len(here), math.ceil(len(here) / (_MASKED * len(row))))
            for first in range(passes):
                found |= self._read(row, here[first::passes])
        return found

    @torch.inference_mode()
    def _read(self, row: Int[Tensor, " tokens"], hidden: Sequence[Place]) -> dict[int, list[str]]:
        """Return the likeliest words at places of a row, all of which are masked at once."""
        self._at = torch.tensor([token for _, token in hidden])
        masked = row.clone()
        masked[self._at] = self._mask
        logits = self._model(input_ids=masked[None]).logits[0].masked_fill(self._banned, -torch.inf)
        # Two more: a word may occur with and without a capital, and the word itself is no candidate.
        best = logits.topk(min(self._number + 2, logits.shape[1]), dim=1)
        found = {}
        for (number, token), ids, score in zip(hidden, best.indices.tolist(), best.values.tolist(), strict=True):
            own = self._words[int(row[token])]
            words = [self._words[token] for token, value in zip(ids, score, strict=True) if value > -torch.inf]
            found[number] = [word for word in dict.fromkeys(words) if word != own][: self._number]
        return found


def _places(text: str, offsets: Sequence[tuple[int, int]], note: Words) -> list[Place]:
    """Return the words that are one token."""
    tokens = {}
    for token, (start, end) in enumerate(offsets):
        spaces = end - start - len(text[start:end].lstrip())  # some tokenizers include the space before the word
        tokens[start + spaces, end] = token
    spans = [(start, start + len(word)) for start, word in zip(note.starts, note, strict=True)]
    return [(number, tokens[span]) for number, span in enumerate(spans) if span in tokens]


def _whole_words(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """Return the word of every token, in lower case; "" where it is a part of a word, or no word."""
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    mark = next((mark for mark in _FIRST if any(token.startswith(mark) for token in tokens)), "")
    words = [token.removeprefix(mark).lower() if token.startswith(mark) else "" for token in tokens]
    words = [word if word.isascii() and word.isalpha() else "" for word in words]
    return words + [""] * (size - len(words))
