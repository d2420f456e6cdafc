"""A network as plain data and how to build it; a live network with its edits and tokenizer."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase

import clinlm.models.architectures  # noqa: F401  registers them with AutoConfig and AutoModel
from clinlm.config.class_paths import OTHER_VERSION, OWN_PACKAGES
from clinlm.config.errors import ModelError
from clinlm.config.ranges import check_choice
from clinlm.models import structure
from clinlm.models.encoders import max_positions
from clinlm.models.wide_branch import ANY_LENGTH, WideBranch
from clinlm.text.group_floor import LearntTerms

PoolingName = Literal["cls", "mean", "max", "max_mean", "attention", "label_attention", "none"]


class Pooling(nn.Module):
    """One vector per row from the hidden states of its tokens.

    Args:
        name: `cls` the first token; `mean` and `max` over the tokens; `max_mean` both concatenated (Howard & Ruder
            2018, "Universal language model fine-tuning", arXiv:1801.06146, section 3.3, there with the last token too);
            `attention` a learned weighting of the tokens; `label_attention` one for each label, which begins as the
            mean (Mullenbach et al. 2018, "Explainable prediction of medical codes from clinical text",
            arXiv:1802.05695, equations 2 to 4; see `by_label`); `none` keeps one vector per token, for taggers.
        outputs: of the head, for `label_attention`.

    Attributes:
        by_token: whether the head reads a vector per token: `none` and `label_attention`.
    """

    def __init__(self, name: PoolingName, hidden_size: int, outputs: int = 1) -> None:
        super().__init__()
        check_choice("pooling", name, get_args(PoolingName))
        self.name = name
        self.parts = 2 if name == "max_mean" else 1
        self.by_token = name in ("label_attention", "none")
        self.score = nn.Linear(hidden_size, 1) if name == "attention" else None
        if name == "label_attention":
            self.score = nn.Linear(hidden_size, outputs, bias=False)
            nn.init.zeros_(self.score.weight)

    def forward(
        self, hidden: Float[Tensor, "rows tokens hidden"], mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows *tokens parts_x_hidden"]:
        """Return one vector per row, or per token; `mask` is 1 on tokens and 0 on padding."""
        if self.by_token:
            return hidden
        if self.name == "cls":
            return hidden[:, 0]
        keep = mask.unsqueeze(-1).to(hidden.dtype)
        if self.name == "mean":
            return masked_mean(hidden, keep)
        if self.score is None:
            largest = hidden.masked_fill(keep == 0, torch.finfo(hidden.dtype).min).amax(1)
            return largest if self.name == "max" else torch.cat([largest, masked_mean(hidden, keep)], -1)
        return (self._weights(hidden, keep) * hidden).sum(1)

    def by_label(
        self,
        logits: Float[Tensor, "rows tokens outputs"],
        hidden: Float[Tensor, "rows tokens hidden"],
        mask: Int[Tensor, "rows tokens"],
    ) -> Float[Tensor, "rows outputs"]:
        """Return the mean of the logits of the tokens, for every label with its own weights.

        A head is linear, so this is its answer to the mean of the hidden states with these weights, of which there
        would be one vector per row and label.
        """
        return (self._weights(hidden, mask.unsqueeze(-1)) * logits).sum(1)

    def _weights(
        self, hidden: Float[Tensor, "rows tokens hidden"], keep: Tensor
    ) -> Float[Tensor, "rows tokens one_or_outputs"]:
        """Return weights that sum to 1 over the tokens; `keep` is 0 on padding."""
        assert self.score is not None
        scores: Tensor = self.score(hidden)
        return scores.masked_fill(keep == 0, torch.finfo(scores.dtype).min).softmax(1)


def masked_mean(
    hidden: Float[Tensor, "rows tokens hidden"], keep: Float[Tensor, "rows tokens 1"]
) -> Float[Tensor, "rows hidden"]:
    """Return the mean over the tokens; `keep` is 1 on tokens and 0 on padding."""
    return (hidden * keep).sum(1) / keep.sum(1)


class Network(nn.Module):
    """Encoder, pooling and a linear head: token ids to logits.

    Attributes:
        body: a transformers encoder without pooler.
        head: Linear, hidden (twice after `max_mean`) -> outputs.
        wide: a linear model beside them, which answers but does not train; None for none.
    """

    def __init__(self, body: nn.Module, pooling: Pooling, head: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.pooling = pooling
        self._by_label = pooling.name == "label_attention"
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.wide: WideBranch | None = None

    def forward(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows *tokens outputs"]:
        """Return the logits of every row, or without pooling of every token, in float32."""
        if self.wide is None:
            return self.deep(input_ids, attention_mask)
        logits = self.deep(input_ids[:, : self.wide.reach], attention_mask[:, : self.wide.reach])
        return logits if self.training else self.wide.mean(logits, self.wide(input_ids, attention_mask)).float()

    def deep(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows *tokens outputs"]:
        """Return the logits without those of the wide branch."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits: Tensor = self.head(self.dropout(self.pooling(hidden, attention_mask)))
        if self._by_label:
            logits = self.pooling.by_label(logits, hidden, attention_mask)
        return logits.float()


@dataclass(frozen=True)
class ModelSpec:
    """A network as plain data: enough to build the skeleton on which edits are replayed and weights loaded.

    Attributes:
        config: a transformers configuration as a dictionary, with `model_type`.
        dropout: before the head, in [0, 1).
    """

    config: Mapping[str, Any]
    outputs: int
    pooling: PoolingName = "mean"
    dropout: float = 0.1

    def build(self) -> Network:
        """Return the skeleton with random weights."""
        config = AutoConfig.for_model(**self.config)
        body = in_parts(AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False))
        hidden = config.hidden_size
        pooling = Pooling(self.pooling, hidden, self.outputs)
        return Network(body, pooling, nn.Linear(pooling.parts * hidden, self.outputs), self.dropout)

    @property
    def max_tokens(self) -> int:
        """Longest row, special tokens included, that the network accepts."""
        return max_positions(AutoConfig.for_model(**self.config))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Edit:
    """An irreversible change as data: the dotted path of a function `(network, **arguments) -> None`.

    Replayed, in order, on a fresh skeleton before weights load. The function must be in `clinlm.` or `callbacks.`: an
    artifact may come from elsewhere and must not call any other code.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.function.startswith(OWN_PACKAGES):
            raise ModelError(f"the function of an edit must be in {' or '.join(OWN_PACKAGES)}, got {self.function!r}")

    def __call__(self, network: nn.Module) -> None:
        module, _, name = self.function.rpartition(".")
        try:
            function = getattr(importlib.import_module(module), name)
            inspect.signature(function).bind(network, **self.arguments)
        except (ImportError, AttributeError, TypeError) as error:
            raise ModelError(f"an artifact that names the function {self.function} {OTHER_VERSION}") from error
        function(network, **self.arguments)


@dataclass
class Model:
    """A live network with its original spec, the edits since, and its tokenizer.

    Attributes:
        learnt: what the tokenizer took from training notes in this stage; None for nothing.
    """

    spec: ModelSpec
    network: Network
    tokenizer: PreTrainedTokenizerBase
    edits: list[Edit] = field(default_factory=list)
    learnt: LearntTerms | None = None

    def apply(self, edit: Edit) -> None:
        """Make the change and record it. Shapes may change, so call it only before optimisers exist."""
        edit(self.network)
        self.edits.append(edit)

    @property
    def max_tokens(self) -> int:
        """Longest row, special tokens included, that the network accepts."""
        return max_positions(self.network.body.config) if self.network.wide is None else ANY_LENGTH


def in_parts(body: nn.Module) -> nn.Module:
    """Return `body` without the pooler of some architectures, which `Pooling` replaces, and with fused layers split."""
    if hasattr(body, "pooler"):
        body.pooler = None  # type: ignore[assignment]
    return structure.split_fused(body)


def rebuild(spec: ModelSpec, edits: list[Edit]) -> Network:
    """Return the skeleton of `spec` with `edits` replayed; its weights are to be loaded."""
    network = spec.build()
    for edit in edits:
        edit(network)
    return network
