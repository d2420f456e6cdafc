"""Pruning of tokens that the training texts do not contain."""

from typing import Any, ClassVar, final

from callbacks.base import Compression
from clinlm.config.ranges import check_at_least
from clinlm.models import structure, vocabulary_pruning
from clinlm.models.model import Edit, Model
from clinlm.text.group_floor import LearntTerms
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import VocabularySize


@final
class Vocabulary(Compression):
    """Remove the tokens that occur in training texts of too few groups, from the embeddings and from the tokenizer.

    Source    Abdaoui et al. 2020, "Load what you need: smaller versions of multilingual BERT", arXiv:2010.05609.
    Changes   rows of the word embeddings; the tokenizer, in which tokens get new ids.
    Needs     the training texts; a WordPiece, BPE or Unigram tokenizer.
    Cost      one tokenisation of the training texts, and one of all texts.
    Departs   there tokens of a language in Wikipedia, here those of the task's training texts; single characters and
              the parts of BPE merges are kept, so that no text becomes unknown. Which tokens are kept tells what is
              in the notes, so tokens of fewer than `task.min_groups` groups (patients) are removed, too. With 1 and
              min_count 1 training texts are tokenised as before, and their predictions do not change.
    Clashes   quantised embeddings.

    Args:
        min_count: occurrences that a token needs to be kept; at least 1.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, min_count: int = 1) -> None:
        check_at_least("prune.min_count", min_count, 1)
        self.min_count = min_count
        self._size: VocabularySize | None = None

    def dry_run(self, model: Model) -> None:
        structure.check_trainable(model.network)
        structure.word_embeddings(model.network.body)

    def prepare(self, module: Module) -> None:
        structure.check_trainable(module.network)
        model, task = module.model, module.task
        before, table = model.tokenizer, structure.word_embeddings(module.network.body)
        counts, rare = vocabulary_pruning.count_common_tokens(before, task.texts("train"), task.floor)
        tokens = vocabulary_pruning.tokens_to_keep(before, counts, self.min_count)
        size = table.num_embeddings
        if len(tokens) < size:
            model.apply(Edit("clinlm.models.surgery.keep_tokens", {"tokens": tokens}))
            model.tokenizer = vocabulary_pruning.trim_tokenizer(before, tokens)
            model.learnt = LearntTerms(int((counts[tokens] >= self.min_count).sum()), rare, task.min_groups)
            module.data.tokenize(model.tokenizer, model.max_tokens)
        pieces = _pieces(before, model.tokenizer, task.texts("validation"))
        self._size = VocabularySize(size, len(tokens), int((counts > 0).sum()), *pieces)

    def report(self) -> MethodReport:
        """Return the numbers of tokens, and how many the validation texts have, before and after."""
        return MethodReport((self._size,) if self._size else ())

    def no_change_reason(self) -> str:
        tokens = self._size.tokens_before if self._size else 0
        return f" (all {tokens} tokens occur in the training texts, or spell other text)"


def _pieces(before: Any, after: Any, texts: list[str]) -> tuple[int, int]:
    first, second = (int(vocabulary_pruning.count_tokens(tokenizer, texts).sum()) for tokenizer in (before, after))
    return first, second
