"""What to predict from a corpus: the records chosen, their split, their tokens, the loss, the metrics."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from lightning import LightningDataModule
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from clinlm import store
from clinlm.batches import Batch, Collate, Documents, Encoded, LengthBatches
from clinlm.corpora.base import Corpus
from clinlm.long_notes import LongNotes
from clinlm.measure.calibration import fit_temperature
from clinlm.measure.quality import Thresholds
from clinlm.serving import Kind, Serving, probabilities
from clinlm.split import SPLITS
from clinlm.tokens import RowCutter
from clinlm.transfers.transfer_set import TransferSet

log = logging.getLogger(__name__)
Calibrate = Literal["none", "temperature"]
_SLICE = 256
"""Documents tokenised at a time."""


@dataclass(frozen=True)
class Examples:
    """The documents of a task, chosen and split.

    Attributes:
        frame: one row a document: `id`, `group`, `text`, `split` (one of SPLITS) and the `attributes` of the corpus.
        targets: what is to be predicted.
        labels: names of the columns of `targets`.
        notices: counted warnings, for the report.
        facts: numbers that describe the choice, for the report.
    """

    frame: pl.DataFrame = field(repr=False)  # a repr must not show notes
    targets: Bool[np.ndarray, "documents labels"]
    labels: tuple[str, ...]
    notices: tuple[str, ...]
    facts: Mapping[str, Any]

    def members(self, split: str) -> Int[np.ndarray, " members"]:
        """Return the numbers of the documents of one split, ascending."""
        return np.flatnonzero((self.frame["split"] == split).to_numpy())


class Task(LightningDataModule, ABC):
    """A task on a corpus. Subclasses are final, one per kind of prediction; they choose, and say what a good answer is.

    Use: `open(store)`, then `bind(tokenizer, ...)` for every model, then the loaders.

    Args:
        corpus: makes the corpus from `root`.
        root: file or folder of the user's data, if it needs any; not part of the key, the bytes read there are.
        long_notes: what to do with notes longer than `max_tokens`.
        max_tokens: longest row given to a model, special tokens included.
        seed: of the choice and the split; not the training seed, so that seeds of a sweep share their test documents.
        calibrate: `temperature` fits one on validation for every model; probabilities in use are then those of its
            logits divided by it. Decisions and metrics of reports are those of the model as it is.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        corpus: Callable[..., Corpus],
        root: str | None,
        long_notes: LongNotes,
        max_tokens: int = 256,
        seed: int = 0,
        calibrate: Calibrate = "none",
    ) -> None:
        super().__init__()
        if calibrate not in ("none", "temperature"):
            raise ValueError(f"task.calibrate is none or temperature; got {calibrate!r}")
        self.calibrate = calibrate
        self.corpus = corpus(root=root)
        self.long_notes = long_notes
        self.max_tokens = max_tokens
        self.seed = seed
        self.folder: Path | None = None

    # What a kind of task decides.

    @abstractmethod
    def choose(self) -> Examples:
        """Read the corpus, choose documents and labels, and split them."""

    @abstractmethod
    def loss(self, logits: Float[Tensor, "documents outputs"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the supervised loss, a mean over documents."""

    @abstractmethod
    def prior(self) -> Float[Tensor, " outputs"]:
        """Return the logits of the label frequencies in training: the best answer of a head that has read nothing."""

    @abstractmethod
    def fit_thresholds(self, probabilities: Float[np.ndarray, "documents outputs"]) -> Thresholds:
        """Return the decision thresholds that the probabilities of the validation documents ask for, or None."""

    @abstractmethod
    def validation_metrics(self, logits: Float[np.ndarray, "documents outputs"]) -> dict[str, float]:
        """Return the metrics of one epoch from the logits of the validation documents, in their order."""

    # What every task does.

    @final
    def probabilities(self, logits: Float[np.ndarray, "documents outputs"]) -> Float[np.ndarray, "documents outputs"]:
        """Return probabilities from logits: each label's own, or shares of one whole, as `kind` says."""
        return probabilities(logits, self.kind)

    @final
    def serving(self, logits: Float[np.ndarray, "validation outputs"], limit: int) -> Serving:
        """Return how to use a model outside of this project: thresholds are those that its validation logits ask for.

        Args:
            logits: of the validation documents.
            limit: the model's longest row; the smaller of it and `max_tokens` counts.
        """
        temperature = 1.0
        if self.calibrate == "temperature":
            targets = self.examples.targets[self.examples.members("validation")]
            temperature = fit_temperature(logits.astype(np.float64), targets, self.kind)
        thresholds = self.fit_thresholds(probabilities(logits / temperature, self.kind))
        return Serving(
            self.kind, self.examples.labels, thresholds, min(limit, self.max_tokens), self.long_notes, temperature
        )

    @final
    def open(self, root: Path, key: str) -> None:
        """Choose the documents, or take the choice made before from the store folder `root/task-<key>`."""
        self.folder = root / f"task-{key}"
        self.__dict__.pop("examples", None)
        with store.claim(self.folder) as whole:
            if not whole:
                log.info("reading the corpus")
                _save_examples(self.folder, self.choose())
                store.seal(self.folder, {"key": key})

    @cached_property
    def examples(self) -> Examples:
        """The documents of the task; `open` comes first."""
        if self.folder is None:
            raise RuntimeError("a task is opened on a store before it is used; call open(store, key)")
        return _load_examples(self.folder)

    @property
    def outputs(self) -> int:
        """Number of logits a document."""
        return len(self.examples.labels)

    @final
    def encode(
        self, tokenizer: PreTrainedTokenizerBase, max_tokens: int, transfer: TransferSet | None = None
    ) -> Encoded:
        """Return the tokens of every document, in rows of at most `max_tokens`; cached in the store by tokenizer.

        Those of a transfer set come after those of the documents, and are cached beside its texts.
        """
        assert self.folder is not None
        slices = (some["text"].to_list() for some in self.examples.frame.select("text").iter_slices(_SLICE))
        documents = self._cached(self.folder, slices, tokenizer, max_tokens)
        if transfer is None:
            return documents
        slices = (list(transfer.texts[start : start + _SLICE]) for start in range(0, len(transfer.texts), _SLICE))
        texts = self._cached(transfer.folder(self.folder.parent), slices, tokenizer, max_tokens)
        return documents.followed_by(texts)

    def _cached(
        self, folder: Path, slices: Iterable[list[str]], tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> Encoded:
        name = store.digest([tokenizer.backend_tokenizer.to_str(), max_tokens, repr(self.long_notes)])
        path = folder / "tokens" / f"{name}.safetensors"
        with store.locked(path):
            if not path.exists():
                log.info("tokenising the texts of %s", folder.name)
                _save_encoded(path, self._encode(slices, tokenizer, max_tokens))
        return _load_encoded(path)

    def _encode(self, slices: Iterable[list[str]], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Encoded:
        rows = RowCutter(tokenizer, max_tokens, self.long_notes)
        documents, cut = [], 0
        for some in slices:
            cut_here, more = rows(some)
            documents += cut_here
            cut += more
        return Encoded.of(documents, int(tokenizer.pad_token_id or 0), cut)

    @final
    def bind(
        self,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
        batch_size: int = 16,
        seed: int = 0,
        teacher_logits: Float[Tensor, "documents outputs"] | None = None,
        transfer: TransferSet | None = None,
    ) -> None:
        """Make the loaders serve one model.

        Args:
            tokenizer: the model's.
            limit: the model's longest row; the smaller of it and `max_tokens` counts.
            batch_size: training documents a step.
            seed: of the order of training documents.
            teacher_logits: row i for document i; after the documents, one for every text of the transfer set.
            transfer: texts without labels, over which training runs as well.
        """
        self.encoded = self.encode(tokenizer, min(limit, self.max_tokens), transfer)
        self.batch_size, self.order_seed, self.transfer = batch_size, seed, transfer
        self.collate = Collate(self.encoded, torch.from_numpy(self.examples.targets).float(), teacher_logits)

    @final
    def loader(self, documents: Int[np.ndarray, " chosen"], batch_size: int = 32) -> DataLoader[Any]:
        """Return one fixed pass over `documents`, shortest first, without teacher logits.

        Args:
            documents: their numbers; those of texts of the transfer set come after all documents.
            batch_size: of them at a time.
        """
        batches = LengthBatches(documents, self.encoded.lengths()[documents], batch_size, seed=None)
        collate = Collate(self.encoded, self.collate.targets)
        return DataLoader(Documents(len(self.encoded)), batch_sampler=batches, collate_fn=collate)

    def train_dataloader(self) -> DataLoader[Any]:
        """Lightning's hook: training documents, and the texts of the transfer set, in batches of similar length."""
        texts = np.arange(len(self.examples.frame), len(self.encoded))
        members = np.concatenate([self.examples.members("train"), texts])
        batches = LengthBatches(members, self.encoded.lengths()[members], self.batch_size, self.order_seed)
        return DataLoader(Documents(len(self.encoded)), batch_sampler=batches, collate_fn=self.collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Lightning's hook: validation documents, in a fixed order."""
        return self.loader(self.examples.members("validation"))

    @final
    def calibration(self, documents: int, seed: int = 0, batch_size: int = 8) -> list[Batch]:
        """Return batches of `documents` training documents, drawn at random: what a method may look at."""
        members = self.examples.members("train")
        chosen = np.random.default_rng(seed).permutation(members)[:documents]
        return list(self.loader(np.sort(chosen), batch_size))

    @final
    def texts(self, split: str) -> list[str]:
        """Return the texts of one split, in the order of `Examples.members`."""
        chosen: list[str] = self.examples.frame["text"].gather(self.examples.members(split)).to_list()
        return chosen


def _save_examples(folder: Path, examples: Examples) -> None:
    for split in SPLITS:
        if not len(examples.members(split)):
            raise ValueError(f"every split holds a document; {split} is empty; read more documents or set task.shares")
    examples.frame.write_parquet(folder / "documents.parquet")
    save_file({"targets": examples.targets}, folder / "targets.safetensors")
    told = {"labels": examples.labels, "notices": examples.notices, "facts": examples.facts}
    store.write_json(folder / "examples.json", told)


def _load_examples(folder: Path) -> Examples:
    told = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    with safe_open(folder / "targets.safetensors", "numpy") as file:
        targets = file.get_tensor("targets")
    frame = pl.read_parquet(folder / "documents.parquet")
    return Examples(frame, targets, tuple(told["labels"]), tuple(told["notices"]), told["facts"])


def _save_encoded(path: Path, encoded: Encoded) -> None:
    draft = path.with_suffix(".draft")
    arrays = {"tokens": encoded.tokens, "row_start": encoded.row_start, "document_start": encoded.document_start}
    save_file(arrays, draft, {"pad": str(encoded.pad), "cut": str(encoded.cut)})
    draft.replace(path)


def _load_encoded(path: Path) -> Encoded:
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        return Encoded(**arrays, pad=int(file.metadata()["pad"]), cut=int(file.metadata()["cut"]))


def counted(dropped: int, total: int, why: str) -> Sequence[str]:
    """Return the notice that `dropped` of `total` documents went, or nothing if none did."""
    return [f"{dropped:,} of {total:,} notes dropped: {why}"] if dropped else []
