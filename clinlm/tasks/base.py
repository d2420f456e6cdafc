"""Base of tasks: documents and their split, tokens, loss, evaluation and inference configuration."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

import numpy as np
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.ranges import check_at_least
from clinlm.corpora.base import Corpus
from clinlm.metrics.calibration import fit_temperature
from clinlm.metrics.classification import METRICS
from clinlm.metrics.conformal import ConformalThresholds, fit_conformal
from clinlm.metrics.decisions import Thresholds
from clinlm.metrics.evaluation import Evaluation
from clinlm.store.arrays import disk_array, load_arrays, save_arrays
from clinlm.store.content import claim, seal
from clinlm.store.key import cache_key
from clinlm.store.locks import locked
from clinlm.tasks.encoded import Encoded
from clinlm.tasks.examples import Examples
from clinlm.tasks.inference_config import InferenceConfig, Kind, label_kind, probabilities_from_logits
from clinlm.tasks.transfer_set import TransferSet
from clinlm.text.group_floor import MIN_GROUPS, GroupFloor
from clinlm.text.long_notes import LongNotes
from clinlm.text.stored_tokenizer import TextTokenizer
from clinlm.text.tokens import RowCutter

if TYPE_CHECKING:  # a task whose models are all in the store is evaluated without torch and transformers
    import polars as pl
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
Calibrate = Literal["none", "temperature"]
MANY_UNKNOWN = 0.01
"""Share of unknown tokens that deserves a notice; tokenizers of clinical models leave about 0.1 % unknown."""
NOT_RELEASED: Final = "the data use agreement of these notes forbids passing them on, and what is learnt from them"
"""Notice of a corpus whose text must not leave."""
_SLICE = 256
"""Documents tokenized at once."""
_PART = 8192
"""Documents whose tokens are written at once."""


class Task(ABC):
    """A task on a corpus. Subclasses are final, one per kind of prediction; they choose documents and define quality.

    Use: `open(store, key)` once; the task is immutable from then on. `clinlm.tasks.data.TaskData` makes its batches for
    one model.

    Args:
        corpus: makes the corpus from `root`.
        root: file or folder of the user's data, if needed. Not part of the key, unlike the content of the files.
        long_notes: how to read notes longer than `max_tokens`.
        max_tokens: longest row of a model, special tokens included.
        seed: of the choice and the split; not the training seed, so that all training seeds share their test documents.
        calibrate: `temperature` fits a temperature on validation for every model, by which deployed models divide their
            logits, in use and in reports.
        min_groups: groups (patients) of training documents that must have a term before a vocabulary learnt from them
            may hold it; 1 for all terms.
    """

    kind: ClassVar[Kind]
    folder: Path | None = None
    """Folder of the chosen documents in the store; None before `open`."""

    def __init__(
        self,
        corpus: Callable[..., Corpus],
        root: str | None,
        long_notes: LongNotes,
        max_tokens: int = 256,
        seed: int = 0,
        calibrate: Calibrate = "none",
        min_groups: int = MIN_GROUPS,
    ) -> None:
        check_at_least("task.min_groups", min_groups, 1)
        if calibrate not in ("none", "temperature"):
            raise ConfigError(f"task.calibrate must be none or temperature, got {calibrate!r}")
        self.calibrate = calibrate
        self.corpus = corpus(root=root)
        self.long_notes = long_notes
        self.max_tokens = max_tokens
        self.seed = seed
        self.min_groups = min_groups

    # Abstract methods.

    @abstractmethod
    def choose(self) -> Examples:
        """Read the corpus, choose documents and labels, and split them."""

    @abstractmethod
    def loss(self, logits: Float[Any, "units outputs"], targets: Any) -> Float[Any, ""]:
        """Return the supervised loss, a mean over units; all are tensors of torch."""

    @abstractmethod
    def prior(self) -> Float[Any, " outputs"]:
        """Return the logits of the label frequencies in training, a tensor, to initialize the bias of a head."""

    @abstractmethod
    def fit_thresholds(self, probabilities: Float[np.ndarray, "units outputs"]) -> Thresholds:
        """Return decision thresholds fitted on the probabilities of the validation documents, or None."""

    @abstractmethod
    def evaluate(
        self, split: str, probabilities: Float[np.ndarray, "units outputs"], thresholds: Thresholds
    ) -> Evaluation:
        """Return the evaluation of a model on a split.

        Args:
            split: one of SPLITS, or EVERY.
            probabilities: of its units, in their order.
            thresholds: fitted on validation for the model.
        """

    # Methods with a default.

    def fingerprint(self) -> str:
        """Return a digest of the files behind the examples."""
        return self.corpus.fingerprint()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Keys of `Evaluation.quality`."""
        return METRICS

    @property
    def by_word(self) -> bool:
        """Whether units are words, and not documents."""
        return self.kind == "entities"

    def labelled_probabilities(self, split: str) -> Float[np.ndarray, "units outputs"] | None:
        """Return the labeler's labels of a split as probabilities of 0 or 1; None if people are the labeler."""
        return None

    def passages(self, documents: Int[np.ndarray, " chosen"]) -> list[str]:
        """Return the text of every unit of `documents`, for the TF-IDF baseline."""
        texts: list[str] = self.examples.frame["text"].gather(documents).to_list()
        return texts

    # Final methods.

    @final
    def validation_metrics(self, logits: Float[np.ndarray, "units outputs"]) -> dict[str, float]:
        """Return the metrics of one epoch from the logits of the validation documents, in their order."""
        values = self.probabilities(logits)
        return self.evaluate("validation", values, self.fit_thresholds(values)).quality()

    @final
    def probabilities(self, logits: Float[np.ndarray, "units outputs"]) -> Float[np.ndarray, "units outputs"]:
        """Return probabilities from logits: of independent labels, or of classes, by `kind`."""
        return probabilities_from_logits(logits, self.kind)

    @final
    def inference_config(
        self, logits: Float[np.ndarray, "validation outputs"], limit: int, alone: bool = False
    ) -> InferenceConfig:
        """Return how to apply a model outside of this project, with thresholds fitted on its validation logits.

        Args:
            logits: of the validation documents.
            limit: the model's longest row; the smaller of it and `max_tokens` counts.
            alone: whether the model reads one document at a time.
        """
        temperature = 1.0
        if self.calibrate == "temperature":
            targets = self.examples.targets[self.examples.units("validation")]
            temperature = fit_temperature(logits.astype(np.float64), targets, label_kind(self.kind))
        probabilities = probabilities_from_logits(logits / temperature, self.kind)
        return InferenceConfig(
            self.kind,
            self.examples.labels,
            self.fit_thresholds(probabilities),
            min(limit, self.max_tokens),
            self.long_notes,
            temperature,
            alone,
            self.fit_conformal(probabilities),
        )

    @final
    def fit_conformal(self, probabilities: Float[np.ndarray, "validation outputs"]) -> tuple[ConformalThresholds, ...]:
        """Return the conformal thresholds of a model, from its probabilities of the units of validation."""
        members, start = self.examples.members("validation"), self.examples.unit_start
        units = np.ones(len(members), np.int64) if start is None else np.diff(start)[members]
        documents = np.repeat(np.arange(len(members)), units)
        groups = self.examples.frame["group"].gather(members).to_numpy()
        targets = self.examples.targets[self.examples.units("validation")]
        return fit_conformal(probabilities, targets, documents, groups, self.kind)

    @final
    def open(self, root: Path, key: str) -> Self:
        """Choose the documents, or read an earlier choice from the store folder `root/task-<key>`; freeze the task.

        Returns:
            the task itself.

        Raises:
            RuntimeError: the task was opened on another folder before.
        """
        folder = root / f"task-{key}"
        if self.folder not in (None, folder):
            raise RuntimeError(f"a task must be opened once, got {folder} after {self.folder}; build another task")
        self.__dict__["folder"] = folder
        with claim(folder, Examples.FILES) as whole:
            if not whole:
                log.info("reading the corpus")
                chosen = self.choose()
                if not self.corpus.remote_allowed:
                    chosen = replace(chosen, notices=(*chosen.notices, NOT_RELEASED))
                chosen.save(folder)
                seal(folder, {"key": key})
        return self

    @final
    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse changes of an opened task: its documents were chosen by the settings."""
        if self.folder is not None:
            raise AttributeError(f"a task is immutable once opened, got {name} = ...; build another task")
        super().__setattr__(name, value)

    @cached_property
    def examples(self) -> Examples:
        """The documents of the task.

        Raises:
            RuntimeError: the task is not open.
        """
        if self.folder is None:
            raise RuntimeError("a task must be opened before it is used; call open(store, key)")
        return Examples.load(self.folder)

    @property
    def outputs(self) -> int:
        """Number of logits of a unit."""
        return len(self.examples.labels)

    @final
    def encode(self, tokenizer: TextTokenizer, max_tokens: int, transfer: TransferSet | None = None) -> Encoded:
        """Return the tokens of every document, in rows of at most `max_tokens`; cached in the store by tokenizer.

        Those of a transfer set follow, and are cached in its own folder.
        """
        assert self.folder is not None
        documents = self._cached(self.folder, self.examples.frame["text"], tokenizer, max_tokens)
        if transfer is None:
            return documents
        folder = transfer.folder(self.folder.parent)
        texts = self._cached(folder, transfer.texts, tokenizer, max_tokens)
        arrays = Encoded.joined_arrays([documents, texts])
        tokens = disk_array(folder, (len(documents.tokens) + len(texts.tokens),), np.int32)
        np.concatenate(arrays.pop("tokens"), out=tokens)
        others = {name: np.concatenate(parts) for name, parts in arrays.items()}
        return Encoded(tokens, **others, pad=documents.pad, cut=documents.cut)

    def _cached(
        self, folder: Path, texts: "Sequence[str] | pl.Series", tokenizer: TextTokenizer, max_tokens: int
    ) -> Encoded:
        key = cache_key(None, tokenizer.backend_tokenizer.to_str(), max_tokens, repr(self.long_notes), self.by_word)
        path = folder / "tokens" / f"{key}.safetensors"
        with locked(path):
            found = _load_encoded(path)
            if found is None:
                log.info("tokenizing the texts of %s", folder.name)
                found = self._tokenized(path, texts, tokenizer, max_tokens)
            return found

    def _tokenized(
        self, path: Path, texts: "Sequence[str] | pl.Series", tokenizer: TextTokenizer, max_tokens: int
    ) -> Encoded:
        """Write the tokens of texts, and return them; of many, part by part, so that a killed process goes on."""
        if len(texts) <= _PART:
            parts = [self.encoded_texts(texts, tokenizer, max_tokens)]
        else:
            parts = []
            for start in range(0, len(texts), _PART):
                place = path.with_name(f"{path.stem}.{start}.safetensors")
                part = _load_encoded(place)
                if part is None:
                    _save_encoded(place, [self.encoded_texts(texts[start : start + _PART], tokenizer, max_tokens)])
                    part = _load_encoded(place)
                assert part is not None, "it was written just now"
                parts.append(part)
        _save_encoded(path, parts)
        for place in path.parent.glob(f"{path.stem}.*.safetensors"):
            place.unlink()
        found = _load_encoded(path)
        assert found is not None, "it was written just now"
        return found

    @final
    def encoded_texts(self, texts: "Sequence[str] | pl.Series", tokenizer: TextTokenizer, max_tokens: int) -> Encoded:
        """Return the tokens of any texts, in rows as those of the task."""
        cutter, pad = RowCutter(tokenizer, max_tokens, self.long_notes, self.by_word), int(tokenizer.pad_token_id or 0)
        # Each slice becomes arrays at once: numbers of Python take ten times the memory.
        slices = (cutter(list(texts[start : start + _SLICE])) for start in range(0, len(texts) or 1, _SLICE))
        return Encoded.joined([Encoded.of(part.documents, pad, part.cut, part.places) for part in slices])

    @final
    def unknown_share(self, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> float:
        """Return the share of unknown tokens in the training texts, special tokens aside; 0 for one that has none."""
        unknown = tokenizer.unk_token_id
        if unknown is None:
            return 0.0
        special = {*tokenizer.all_special_ids} - {unknown}
        return self.encode(tokenizer, max_tokens).share_of(unknown, self.examples.members("train"), special)

    @final
    def read_share(self, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> dict[str, float]:
        """Return how many documents do not fit into their rows (`cut`), and `unknown_share` (`unknown`).

        Every stage keeps them in its report, so that to say so needs no tokenizer.
        """
        return {"cut": self.encode(tokenizer, max_tokens).cut, "unknown": self.unknown_share(tokenizer, max_tokens)}

    @final
    @property
    def floor(self) -> GroupFloor:
        """The groups of the training texts, and how many of them must have a term that is stored."""
        return GroupFloor.of(
            self.examples.frame["group"].gather(self.examples.members("train")).to_list(), self.min_groups
        )

    @final
    def texts(self, split: str) -> list[str]:
        """Return the texts of a split, in the order of `Examples.members`."""
        chosen: list[str] = self.examples.frame["text"].gather(self.examples.members(split)).to_list()
        return chosen


def _save_encoded(path: Path, parts: Sequence[Encoded]) -> None:
    cut = sum(part.cut for part in parts)
    save_arrays(path, Encoded.joined_arrays(parts), {"pad": str(parts[0].pad), "cut": str(cut)})


def _load_encoded(path: Path) -> Encoded | None:
    """Return what `_save_encoded` wrote; None where nothing is there, or it is damaged, with a warning."""
    if not path.exists():
        return None
    try:
        arrays, facts = load_arrays(path)
        return Encoded(**arrays, pad=int(facts["pad"]), cut=int(facts["cut"]))
    except DataError as damage:
        log.warning("%s: tokenizing again", damage)
    except (TypeError, KeyError, ValueError):
        log.warning("%s must hold the tokens of texts, and does not: tokenizing again", path)
    return None


def dropped_notice(dropped: int, total: int, why: str) -> Sequence[str]:
    """Return the notice that `dropped` of `total` documents were dropped, or nothing if none were."""
    return [f"{dropped:,} of {total:,} notes dropped: {why}"] if dropped else []
