"""The TF-IDF baseline as a teacher: its errors differ from those of networks, and it costs a student nothing."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self, TypeVar, final

import numpy as np
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.runtime import Stopwatch
from clinlm.corpora.split import split_groups
from clinlm.metrics.baseline import FILES, TfidfBaseline
from clinlm.metrics.term_model import TermModel, linked_logits
from clinlm.store.arrays import load_arrays, save_arrays
from clinlm.store.content import claim, read_record, seal
from clinlm.store.key import cache_key
from clinlm.store.locks import locked
from clinlm.tasks.base import Task
from clinlm.tasks.examples import units_of
from clinlm.tasks.inference_config import SERVING
from clinlm.tasks.transfer_set import TransferSet
from clinlm.text.group_floor import LearntTerms
from clinlm.training.teachers.base import Measured, TeacherSource
from clinlm.training.teachers.teacher_cost import TeacherCost

log = logging.getLogger(__name__)
M = TypeVar("M", bound=TermModel)
TFIDF: Final = "tfidf"
"""Its name among the teachers of a stage."""

FOLDS: Final = 5
WORDS: Final = 200_000
"""Most words that the baseline of an entity task is fitted on: more would take minutes and change little."""

_SLICE = 256


@final
@dataclass(frozen=True)
class Tfidf(TeacherSource):
    """The baseline of every report, fitted once a task and cached in the store.

    It is nearly certain of documents that it was fitted on, so that a student would learn only labels from it. Training
    documents are therefore cross-fitted: their groups are split into `FOLDS` folds, and the logits of every fold are
    those of a baseline, of the strength chosen for the whole, fitted on the other folds. Texts of a transfer set are
    mostly made of training documents: the logits of each are those of the baseline not fitted on the training document
    nearest to it (cosine of TF-IDF vectors). Validation and test have those of the whole baseline.

    Where words are tagged, it reads every word with its neighbours (`clinlm.tasks.entities.contexts`), on whole
    training documents of at most `WORDS` words; it does not answer transfer sets.

    Where documents have exactly one label, its regressions are one against the rest, normalized to sum to 1.
    """

    root: Path
    task_key: str

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the baseline of an opened task, in the store of the task."""
        assert task.folder is not None
        return cls(task.folder.parent, task.folder.name.removeprefix("task-"))

    @property
    def name(self) -> str:
        return TFIDF

    @property
    def key(self) -> str:
        return cache_key({"_target_": f"{__name__}.Tfidf"}, self.task_key)

    @property
    def artifact(self) -> None:
        """See `TeacherSource.artifact`: it has no network."""
        return None

    @property
    def folder(self) -> Path:
        """Folder of the fitted baseline."""
        key = cache_key({"_target_": f"{TfidfBaseline.__module__}.TfidfBaseline"}, self.task_key)
        return self.root / f"tfidf-{key}"

    @property
    def bytes(self) -> int:
        """Size on disk of what is served, once it is fitted."""
        return sum((self.folder / name).stat().st_size for name in (*FILES, SERVING))

    def fitted(self, task: Task) -> tuple[TfidfBaseline, bool]:
        """Return the baseline, and whether it was cached.

        Its folder is also served: `serving.json` has its labels, and the thresholds fitted on validation.
        """
        with claim(self.folder) as whole:
            if not whole:
                log.info("fitting the TF-IDF baseline")
                train, validation = (drawn_passages(task, split) for split in ("train", "validation"))
                clock = Stopwatch()
                baseline = TfidfBaseline.fit(*train, *validation)
                seconds = clock.seconds()
                baseline.save(self.folder)
                logits = linked_logits(baseline, _split(task, "validation")[0], task.kind)
                task.inference_config(logits, task.max_tokens).save(self.folder)
                terms = LearntTerms(len(baseline.vocabulary), 0, 1)  # it stays in the store, with the notes
                facts = {"key": self.folder.name, "task": self.task_key, "seconds": seconds}
                seal(self.folder, facts | {"vocabulary": asdict(terms)})
        return TfidfBaseline.load(self.folder), whole

    def training_logits(self, task: Task, precision: str) -> Float[np.ndarray, "train outputs"]:
        """See `TeacherSource.training_logits`; `precision` has no effect."""
        return self._cached(f"train-{self.key}", task, lambda baseline: _crossed(task, baseline, [])[0])

    def transfer_logits(self, task: Task, precision: str, transfer: TransferSet) -> Float[np.ndarray, "texts outputs"]:
        """See `TeacherSource.transfer_logits`; `precision` has no effect. Caches the training logits, too."""

        def crossed(baseline: TfidfBaseline) -> Float[np.ndarray, "texts outputs"]:
            if task.by_word:
                raise ConfigError(
                    "TF-IDF as a teacher of words cannot cross-fit a transfer set, whose words have no nearest "
                    f"training note; remove {TFIDF} from the `teachers`, or set augmentation=none"
                )
            trained, found = _crossed(task, baseline, transfer.texts)
            self._cached(f"train-{self.key}", task, lambda _: trained)
            return found

        return self._cached(f"{transfer.key}-{self.key}", task, crossed)

    def split_logits(self, task: Task, split: Measured) -> Float[np.ndarray, "documents outputs"]:
        texts = _split(task, split)[0]
        return self._cached(f"{split}-{self.key}", task, lambda baseline: linked_logits(baseline, texts, task.kind))

    def cost(self) -> TeacherCost:
        model = TfidfBaseline.load(self.folder)
        return TeacherCost(model.parameters, model.nonzero, self.bytes, read_record(self.folder)["seconds"])

    def _cached(
        self, name: str, task: Task, answers: Callable[[TfidfBaseline], Float[np.ndarray, "asked outputs"]]
    ) -> Float[np.ndarray, "asked outputs"]:
        return stored_logits(self.folder, name, lambda: self.fitted(task)[0], answers)


def stored_logits(
    folder: Path, name: str, fitted: Callable[[], M], answers: Callable[[M], Float[np.ndarray, "asked outputs"]]
) -> Float[np.ndarray, "asked outputs"]:
    """Return the logits `name` from the folder of a baseline; where they are not there, one process computes them.

    Args:
        fitted: returns the baseline, fitted into the folder if need be.
        answers: the logits of the baseline.
    """
    path = folder / "logits" / f"{name}.safetensors"
    found = _stored(path)
    if found is None:
        baseline = fitted()  # before the lock, which makes the folder
        with locked(path):
            found = _stored(path)  # another process may have computed it
            if found is None:
                log.info("computing the logits of %s for %s", folder.name.partition("-")[0], name.partition("-")[0])
                found = answers(baseline)
                save_arrays(path, {"logits": found})
    return found


def _stored(path: Path) -> Float[np.ndarray, "asked outputs"] | None:
    if not path.exists():
        return None
    try:
        return load_arrays(path)[0]["logits"]
    except (DataError, KeyError) as damage:
        log.warning("%s: computing them again", damage)
        return None


def nearest_documents(baseline: TfidfBaseline, texts: list[str], among: list[str]) -> Int[np.ndarray, " texts"]:
    """Return for every text the number of the nearest document of `among`, by TF-IDF vectors."""
    documents = baseline.vectors(among).T
    slices = [baseline.vectors(texts[start : start + _SLICE]) @ documents for start in range(0, len(texts), _SLICE)]
    return np.concatenate([np.asarray(part.argmax(axis=1)).ravel() for part in slices])


def _crossed(
    task: Task, baseline: TfidfBaseline, texts: Sequence[str]
) -> tuple[Float[np.ndarray, "train outputs"], Float[np.ndarray, "texts outputs"]]:
    """Return the cross-fitted logits of the training documents, and of texts made of them."""
    own, targets = _split(task, "train")
    near = nearest_documents(baseline, list(texts), task.texts("train")) if texts else np.zeros(0, np.int64)
    found = np.zeros(targets.shape, np.float32), np.zeros((len(texts), task.outputs), np.float32)
    for held, model in _folds(task, baseline.strength):
        found[0][held] = linked_logits(model, [own[number] for number in held], task.kind)
        (mine,) = np.nonzero(np.isin(near, held))
        if len(mine):
            found[1][mine] = linked_logits(model, [texts[number] for number in mine.tolist()], task.kind)
    return found


def _folds(task: Task, strength: float) -> Iterator[tuple[Int[np.ndarray, " held"], TfidfBaseline]]:
    """Yield the units of every fold, by their place in training, and a baseline fitted on the other groups."""
    texts, targets = _split(task, "train")
    groups = _groups(task, task.examples.members("train"))
    folds = min(FOLDS, len(set(groups)))
    if folds < 2:
        raise ConfigError(
            "TF-IDF as a teacher needs training documents of at least 2 groups, got 1; read more documents, or remove "
            f"{TFIDF} from the `teachers`"
        )
    fold = split_groups(groups, targets, [1 / folds] * folds, seed=0)
    for number in range(folds):
        seen, (held,) = np.flatnonzero(fold != number), np.nonzero(fold == number)
        log.info("fitting TF-IDF on fold %d of %d", number + 1, folds)
        yield held, TfidfBaseline.fit_at([texts[place] for place in seen], targets[seen], strength)


def drawn_passages(task: Task, split: str) -> tuple[list[str], np.ndarray]:
    """Return the texts and targets of a split that baselines are fitted on or chosen by: of words, at most `WORDS`."""
    return _read(task, _drawn(task, split))


def drawn_groups(task: Task, split: str) -> list[str]:
    """Return the group of every text of `drawn_passages`."""
    return _groups(task, _drawn(task, split))


def _groups(task: Task, documents: Int[np.ndarray, " chosen"]) -> list[str]:
    """Return the group of every unit of documents."""
    groups = task.examples.frame["group"].gather(documents).to_numpy()
    found: list[str] = np.repeat(groups, _units(task, documents)).tolist()
    return found


def _split(task: Task, split: str) -> tuple[list[str], np.ndarray]:
    return _read(task, task.examples.members(split))


def _read(task: Task, documents: Int[np.ndarray, " chosen"]) -> tuple[list[str], np.ndarray]:
    return task.passages(documents), task.examples.targets[units_of(task.examples.unit_start, documents)]


def _drawn(task: Task, split: str) -> Int[np.ndarray, " chosen"]:
    """Return the documents of a split; for tasks on words, documents drawn at random, up to `WORDS` words."""
    members = task.examples.members(split)
    if not task.by_word:
        return members
    order = np.random.default_rng(0).permutation(members)
    kept = int(np.searchsorted(np.cumsum(_units(task, order)), WORDS, side="right"))
    return np.sort(order[: max(1, kept)])


def _units(task: Task, documents: Int[np.ndarray, " chosen"]) -> Int[np.ndarray, " chosen"]:
    """Return the number of units of every document."""
    start = task.examples.unit_start
    return np.ones(len(documents), np.int64) if start is None else np.diff(start)[documents]
