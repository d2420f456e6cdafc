"""A student with a wide branch: a linear model of all tokens beside a network that reads the first ones."""

import math
from typing import Any, ClassVar, Final, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_interval
from clinlm.metrics.baseline import regressions
from clinlm.models.initializers.base import TeacherInitializer
from clinlm.models.model import Edit, Model
from clinlm.tasks.base import Task
from clinlm.tasks.encoded import Encoded
from clinlm.text.long_notes import require_one_row

_BRANCH: Final = "clinlm.models.surgery.add_wide_branch"
_STRENGTHS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Values of C (inverse strength of the L2 penalty) tried on validation."""


@final
class Wide(TeacherInitializer):
    """A student and, beside it, one logistic regression per label on all tokens of a note; see `WideBranch`.

    The regressions are fitted on the labels of the training notes: on a teacher's answers they would be worse
    (docs/log.md). Their C has the smallest log loss on validation notes, and so logits of a size that can be averaged.
    The rest of the student then learns what they lack: where `tfidf` is among the teachers of a stage, its cross-fitted
    logits stand in for theirs; else it learns alone.

    Args:
        deep: the student without the branch; it reads the first tokens of a row, as many as it accepts.
        share: of the branch in the logits, in (0, 1).

    Raises:
        ConfigError: a setting out of range; (in `begin`) a task on words, or with notes in several rows, of which the
            branch would count each alone, and the regressions all together; or what `deep` raises.
    """

    of_documents: ClassVar[bool] = True
    one_row: ClassVar[bool] = True  # of both, see `clinlm.cli.preflight`

    def __init__(self, deep: TeacherInitializer, share: float = 0.6) -> None:
        if not isinstance(deep, TeacherInitializer):
            raise ConfigError(
                "student.deep must be a student made from its teacher (text_cnn, token_vectors, factorized, ...), got "
                f"{type(deep).__name__}"
            )
        check_interval("student.share", share, "(0, 1)")
        self.deep, self.share = deep, share

    def sketch(self, teacher: Model | None) -> Model | None:
        model = self.deep.sketch(teacher)
        if model is not None:
            with torch.device("meta"):
                model.apply(self._edit(model))
        return model

    def begin(self, task: Task, teacher: Model | None) -> Model:
        if task.by_word:
            raise ConfigError("model=wide answers notes, got a task on words; set model@student=dilated_cnn")
        require_one_row("model=wide", task.long_notes)
        model = self.deep.begin(task, teacher)
        model.apply(self._edit(model))
        wide: Any = model.network.wide
        fitted = _fit(task, task.encode(model.tokenizer, task.max_tokens), wide.table.num_embeddings)
        with torch.no_grad():
            wide.table.weight.copy_(torch.from_numpy(fitted.table))
            wide.bias.copy_(torch.from_numpy(fitted.bias))
        return model

    def _edit(self, model: Model) -> Edit:
        return Edit(_BRANCH, {"reach": model.max_tokens, "share": self.share})


class _Fitted(NamedTuple):
    table: Float32[np.ndarray, "tokens outputs"]
    bias: Float32[np.ndarray, " outputs"]


def _fit(task: Task, encoded: Encoded, tokens: int) -> _Fitted:
    """Return the regressions on all tokens that enough groups have."""
    from scipy.sparse import csr_array

    examples = task.examples
    rows, held = (token_weights(encoded, examples.members(split), tokens) for split in ("train", "validation"))
    targets, held_targets = (examples.targets[examples.members(split)] for split in ("train", "validation"))
    texts, found = rows.nonzero()
    common: Bool[np.ndarray, " tokens"] = task.floor.count(texts, found, tokens) >= task.min_groups
    documents = np.bincount(found, minlength=tokens)
    idf = np.where(common, np.log((1 + len(targets)) / (1 + documents)) + 1, 0)
    # Rows of length 1 in the mean: C is for these.
    scale = idf / math.sqrt(max(float((rows * rows @ idf**2).mean()), 1e-12))
    rows, held = csr_array(rows * scale), csr_array(held * scale)
    best, lowest = None, math.inf
    for _, weights, bias in regressions(rows, targets, _STRENGTHS):
        logits = held @ weights.T + bias
        loss = float((np.logaddexp(0, logits) - held_targets * logits).mean())
        if best is None or loss < lowest:
            best, lowest = _Fitted((weights * scale).T.astype(np.float32), bias), loss
    assert best is not None, "strengths are tried"
    return best


def token_weights(encoded: Encoded, documents: Any, tokens: int) -> Any:
    """Return the weights of `WideBranch`, documents x tokens, as a sparse array: rows of length 1."""
    from scipy.sparse import csr_array

    values, columns, starts = list[Float64[np.ndarray, " _"]](), list[np.ndarray](), [0]
    for document in documents.tolist():
        found, counts = np.unique(np.concatenate(encoded.rows(document)), return_counts=True)
        weight = 1 + np.log(counts)
        values.append(weight / np.sqrt(np.square(weight).sum()))
        columns.append(found)
        starts.append(starts[-1] + len(found))
    # liblinear takes 32-bit indices only.
    places = np.concatenate(columns).astype(np.int32), np.array(starts, dtype=np.int32)
    return csr_array((np.concatenate(values), *places), shape=(len(documents), tokens))
