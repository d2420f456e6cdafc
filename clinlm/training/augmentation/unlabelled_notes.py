"""Notes of another corpus, without labels."""

from collections.abc import Callable, Iterator
from typing import final

from clinlm.corpora.base import Corpus
from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import Augmentation, check_documents, free_notes


@final
class UnlabelledNotes(Augmentation):
    """Notes of any corpus in random order, except those of a group or with a text of validation or test.

    Source    Turc et al. 2019, arXiv:1908.08962, "Well-read students learn better": distillation on unlabelled texts of
              the domain.
    Cost      reading the corpus.

    Args:
        corpus: makes the corpus from `root`.
        root: its file or folder. Not part of the key, unlike the content of the files.
        documents: the most texts; None for all.
    """

    def __init__(self, corpus: Callable[..., Corpus], root: str, documents: int | None = None) -> None:
        check_documents(documents)
        self.corpus, self.documents = corpus(root=root), documents

    def fingerprint(self) -> str:
        return self.corpus.fingerprint()

    @property
    def released(self) -> bool:
        return self.corpus.remote_allowed

    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        return free_notes(self.corpus, task, seed, self.documents)
