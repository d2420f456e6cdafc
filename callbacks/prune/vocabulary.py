"""Tokens that the training texts do not have."""

from typing import Any, ClassVar, final

from callbacks.base import Compression
from clinlm.models import structure, token_pruning
from clinlm.models.model import Edit
from clinlm.training.modules.base import Module


@final
class Vocabulary(Compression):
    """Remove the tokens that occur in no training text, from the embeddings and from the tokenizer.

    Source    Abdaoui et al. 2020, "Load what you need: smaller versions of multilingual BERT", arXiv:2010.05609.
    Changes   rows of the word embeddings; the tokenizer, in which tokens get new numbers.
    Needs     the training texts; a WordPiece, BPE or Unigram tokenizer.
    Cost      one tokenisation of the training texts, and one of all texts.
    Departs   there tokens of a language in Wikipedia, here those of the task's training texts; single characters and
              the parts of BPE merges stay, so that no text becomes unknown. With min_count 1 training texts are cut as
              before, and the network says of them what it said.
    Clashes   after INT8 the embeddings are no table of floats.

    Args:
        min_count: a token stays if it occurs this often; at least 1.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, min_count: int = 1) -> None:
        if min_count < 1:
            raise ValueError(f"prune.min_count is at least 1; got {min_count}")
        self.min_count = min_count
        self._row: dict[str, Any] = {}

    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        structure.check_trainable(module.network)
        model, task = module.model, module.task
        before, table = model.tokenizer, structure.word_embeddings(module.network.body)
        counts = token_pruning.count_tokens(before, task.texts("train"))
        tokens = token_pruning.tokens_to_keep(before, counts, self.min_count)
        self._row = {"tokens_before": table.num_embeddings, "tokens_after": len(tokens)}
        self._row["occurring"] = int((counts > 0).sum())
        if len(tokens) < table.num_embeddings:
            model.apply(Edit("clinlm.models.surgery.keep_tokens", {"tokens": tokens}))
            model.tokenizer = token_pruning.trim_tokenizer(before, tokens)
            told = (task.batch_size, task.order_seed, task.collate.teacher_logits, task.transfer)
            task.bind(model.tokenizer, model.max_tokens, *told)
        self._row |= _longer(before, model.tokenizer, task.texts("validation"))

    def finalize(self, module: Module) -> None:
        """Check that embeddings and tokenizer still have the tokens promised."""
        rows, promised = structure.word_embeddings(module.network.body).num_embeddings, self._row["tokens_after"]
        if {rows, len(module.model.tokenizer)} != {promised} and promised < self._row["tokens_before"]:
            raise RuntimeError(
                f"pruning promised {promised} tokens; after training there are {rows} embeddings, and a tokenizer of "
                f"{len(module.model.tokenizer)}"
            )

    def report(self) -> list[dict[str, Any]]:
        """Return the tokens before and after, and how many pieces the validation texts have with either tokenizer."""
        return [self._row]

    def why_idle(self) -> str:
        """See `Compression.why_idle`."""
        return f" (all {self._row['tokens_before']} tokens occur in the training texts, or spell what does not)"


def _longer(before: Any, after: Any, texts: list[str]) -> dict[str, int]:
    pieces = [int(token_pruning.count_tokens(tokenizer, texts).sum()) for tokenizer in (before, after)]
    return {"validation_pieces_before": pieces[0], "validation_pieces_after": pieces[1]}
