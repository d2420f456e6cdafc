"""A convolutional student over token vectors from its teacher."""

from collections.abc import Sequence
from typing import Any, final

from clinlm.config.errors import ConfigError
from clinlm.models.architectures.text_cnn import TextCnnConfig
from clinlm.models.initializers.base import HeadBias
from clinlm.models.initializers.teacher_tokens import ConvolutionalStudent
from clinlm.models.model import Model, PoolingName
from clinlm.tasks.base import Task


@final
class TextCnn(ConvolutionalStudent):
    """Kim's classifier over the principal components of the teacher's states of single tokens.

    Source: Kim 2014, "Convolutional neural networks for sentence classification", arXiv:1408.5882, with trainable
    vectors (CNN-non-static).
    Departs: there word vectors from word2vec, here vectors of the tokens that the training texts need, from the teacher
    (see `TokenVectors`), scaled to a variance of 1; a smaller dropout, as the teacher's logits regularise too.

    Args:
        widths: tokens that a filter reads, one per group of filters.
        filters: number of filters of every width.
        opening: how many first tokens are also pooled separately; None for none. See `TextCnnModel`.
        embedding_size, max_tokens, min_count, pooling, dropout, head_bias: see `ConvolutionalStudent`.

    Raises:
        ConfigError: a setting out of range; (in `begin`) no teacher, vectors wider than its hidden state, or an opening
            in a task on words.
    """

    def __init__(
        self,
        embedding_size: int = 128,
        widths: Sequence[int] = (2, 3, 4),
        filters: int = 128,
        opening: int | None = None,
        max_tokens: int | None = None,
        min_count: int = 1,
        pooling: PoolingName = "max",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        super().__init__(embedding_size, max_tokens, min_count, pooling, dropout, head_bias)
        if not widths or min(widths) < 1 or filters < 1:
            raise ConfigError(
                "student.widths must be a list of numbers >= 1 and student.filters >= 1, got "
                f"{list(widths)} and {filters}"
            )
        if opening is not None and opening < 1:
            raise ConfigError(f"student.opening must be >= 1, or null for none, got {opening}")
        self.widths, self.filters, self.opening = list(widths), filters, opening

    def begin(self, task: Task, teacher: Model | None) -> Model:
        if task.by_word and self.opening is not None:
            raise ConfigError(
                f"student.opening needs pooling, which tasks on words do not have, got {self.opening}; set "
                "student.opening=null"
            )
        return super().begin(task, teacher)

    def config(self, **known: Any) -> TextCnnConfig:
        filters = [self.filters] * len(self.widths)
        return TextCnnConfig(widths=self.widths, filters=filters, opening=self.opening, **known)
