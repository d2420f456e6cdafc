"""A dilated convolutional student over token vectors from its teacher."""

from collections.abc import Sequence
from typing import Any, final

from clinlm.config.errors import ConfigError
from clinlm.models.architectures.dilated_cnn import DilatedCnnConfig
from clinlm.models.initializers.base import HeadBias
from clinlm.models.initializers.teacher_tokens import ConvolutionalStudent
from clinlm.models.model import PoolingName


@final
class DilatedCnn(ConvolutionalStudent):
    """Dilated convolutions over the principal components of the teacher's states of single tokens.

    Source: Strubell et al. 2017, "Fast and accurate entity recognition with iterated dilated convolutions",
    arXiv:1702.02098; token vectors as in `clinlm.models.initializers.text_cnn`.

    Args:
        hidden_size: filters of every convolution.
        dilations: distance between the tokens that a filter reads, one per convolution.
        embedding_size, max_tokens, min_count, pooling, dropout, head_bias: see `ConvolutionalStudent`.

    Raises:
        ConfigError: a setting out of range; (in `begin`) no teacher, or vectors wider than its hidden state.
    """

    def __init__(
        self,
        embedding_size: int = 128,
        hidden_size: int = 192,
        dilations: Sequence[int] = (1, 2, 4),
        max_tokens: int | None = None,
        min_count: int = 1,
        pooling: PoolingName = "max",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
    ) -> None:
        super().__init__(embedding_size, max_tokens, min_count, pooling, dropout, head_bias)
        if not dilations or min(dilations) < 1 or hidden_size < 1:
            raise ConfigError(
                "student.dilations must be a list of numbers >= 1 and student.hidden_size >= 1, got "
                f"{list(dilations)} and {hidden_size}"
            )
        self.hidden_size, self.dilations = hidden_size, list(dilations)

    def config(self, **known: Any) -> DilatedCnnConfig:
        return DilatedCnnConfig(hidden_size=self.hidden_size, dilations=self.dilations, **known)
