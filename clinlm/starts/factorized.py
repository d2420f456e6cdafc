"""A small transformer cut out of its teacher, with narrow embeddings of the tokens that training texts have."""

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from clinlm import anatomy
from clinlm.edits import keep_ffn_units, keep_heads
from clinlm.model import Model, ModelSpec, PoolingName, without_pooler
from clinlm.starts.base import HeadBias, Start, check_rates, plain, with_head
from clinlm.starts.from_teacher import FromTeacher
from clinlm.starts.teacher_tokens import TeacherTokens, principal, teacher_tokens
from clinlm.task import Task


@final
class Factorized(Start):
    """Embeddings of their own, smaller width, and a projection to the hidden state; layers cut out of the teacher's.

    Source: Lan et al. 2020 (ALBERT), arXiv:1909.11942, section 3.1, factorised embeddings. The architecture is that of
    ELECTRA (Clark et al. 2020, arXiv:2003.10555), which has the projection.
    Departs: layers are not shared; embeddings are the principal components of the teacher's, those of the tokens in the
    training texts; the projection is fitted so that the first layer reads what it read in the teacher; layers are cut
    out of the teacher as `FromTeacher` does, then heads and FFN units with the largest weights stay.

    Args:
        embedding_size: width of a token's vector, below `hidden_size`.
        hidden_size: a multiple of the width of the teacher's heads, at most its hidden size.
        layers: see `FromTeacher`.
        intermediate_size: FFN units a layer, at most the teacher's.
        min_count: tokens that occur less often in the training texts have no vector; see `clinlm.vocabulary.needed`.
        pooling, dropout, head_bias: see `clinlm.model.Pooling`, `ModelSpec` and `with_head`.
        attention_dropout: on attention weights; see `clinlm.starts.base.with_dropout`.

    Raises:
        ValueError: a setting out of its range; (on beginning) no teacher, or one that is smaller than its student.
    """

    needs_teacher = True

    def __init__(
        self,
        embedding_size: int = 96,
        hidden_size: int = 192,
        layers: int = 3,
        intermediate_size: int = 768,
        min_count: int = 1,
        pooling: PoolingName = "mean",
        dropout: float = 0.1,
        head_bias: HeadBias = "prior",
        attention_dropout: float = 0.0,
    ) -> None:
        check_rates(dropout=dropout, attention_dropout=attention_dropout)
        if not 1 <= embedding_size < hidden_size:
            raise ValueError(
                f"student.embedding_size is at least 1 and below student.hidden_size; got {embedding_size} and "
                f"{hidden_size}"
            )
        self.embedding_size, self.hidden_size, self.layers = embedding_size, hidden_size, layers
        self.intermediate_size, self.min_count, self.pooling = intermediate_size, min_count, pooling
        self.dropout, self.head_bias, self.attention_dropout = dropout, head_bias, attention_dropout

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Start.begin`."""
        model, tokens = teacher_tokens(task, teacher, self.min_count)
        narrow = FromTeacher(self.layers, self.hidden_size).begin(task, model)
        self._cut_layers(narrow)
        first = anatomy.layers(narrow.network.body)[0]
        positions = min(model.max_tokens, task.max_tokens)
        config = AutoConfig.for_model(
            "electra",
            vocab_size=len(tokens.numbers),
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=first.heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=positions,
            type_vocab_size=1,
            attention_probs_dropout_prob=self.attention_dropout,
            pad_token_id=tokens.tokenizer.pad_token_id,
        )
        body = without_pooler(AutoModel.from_config(config, dtype=torch.float32))
        network = with_head(body, task, self.pooling, self.dropout, self.head_bias)
        copy_layers(narrow.network.body, body)
        dimensions = narrow.edits[-1].arguments["dimensions"]
        copy_embeddings(model, body, tokens, torch.tensor(dimensions))
        if MODE == "cuthead":
            with torch.no_grad():
                network.head.weight.copy_(narrow.network.head.weight)
                network.head.bias.copy_(narrow.network.head.bias)
        return Model(ModelSpec(plain(config), task.outputs, self.pooling, self.dropout), network, tokens.tokenizer)

    def fingerprint(self) -> str:
        """See `Start.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"

    def _cut_layers(self, model: Model) -> None:
        layers = anatomy.layers(model.network.body)
        size, units = layers[0].head_size, layers[0].up.out_features
        heads = self.hidden_size // size
        keep_heads(model.network, {str(n): _largest(head_norms(one), heads) for n, one in enumerate(layers)})
        keep_ffn_units(
            model.network, {str(n): _largest(unit_norms(one), self.intermediate_size) for n, one in enumerate(layers)}
        )


MODE = "cut"


def head_norms(layer: anatomy.Layer) -> Float[Tensor, " heads"]:
    """Return the norm of what every head can write: of its output weight times its value weight."""
    values = layer.value.weight.detach().view(layer.heads, layer.head_size, -1)
    outputs = layer.attention_output.weight.detach().view(-1, layer.heads, layer.head_size)
    return torch.einsum("ohs,hsi->hoi", outputs, values).flatten(1).norm(dim=1)


def unit_norms(layer: anatomy.Layer) -> Float[Tensor, " units"]:
    """Return the norm of what every FFN unit reads times the norm of what it writes."""
    return layer.up.weight.detach().norm(dim=1) * layer.down.weight.detach().norm(dim=0)


def _largest(scores: Float[Tensor, " _"], kept: int) -> list[int]:
    return sorted(torch.argsort(scores, descending=True, stable=True)[:kept].tolist())


def copy_layers(source: nn.Module, target: nn.Module) -> None:
    if MODE == "fresh":
        return
    for ours, theirs in zip(anatomy.layers(target), anatomy.layers(source), strict=True):
        for name in (*anatomy.LINEARS, "attention_norm", "output_norm"):
            getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())


def copy_embeddings(teacher: Model, body: nn.Module, tokens: TeacherTokens, dimensions: Tensor) -> None:
    tb = cast(Any, teacher.network.body).embeddings
    e = cast(Any, body)
    vectors = tokens.vectors(teacher)
    found = principal(vectors, tokens.share, e.config.embedding_size)
    with torch.no_grad():
        e.embeddings.word_embeddings.weight.copy_(found.project(vectors))
        P = e.config.max_position_embeddings
        pos = tb.position_embeddings.weight[:P]
        e.embeddings.position_embeddings.weight.copy_(pos @ found.directions)
        e.embeddings.token_type_embeddings.weight.zero_()
        if MODE == "fresh":
            return
        n = len(vectors)
        idx = torch.arange(n).repeat(4)
        p = (torch.arange(4 * n) * 7919) % P
        target = tb.LayerNorm(vectors[idx] + pos[p] + tb.token_type_embeddings.weight[0])[:, dimensions]
        given = functional.layer_norm(
            e.embeddings.word_embeddings.weight[idx] + e.embeddings.position_embeddings.weight[p],
            (e.config.embedding_size,),
        )
        w = tokens.share[idx].sqrt()[:, None]
        given1 = torch.cat([given, torch.ones(len(given), 1)], 1)
        sol = torch.linalg.lstsq(given1 * w, target * w).solution
        print(
            "fit R2",
            1
            - ((given1 @ sol - target).square() * w**2).sum()
            / ((target - (target * w**2).sum(0) / (w**2).sum()).square() * w**2).sum(),
        )
        e.embeddings_project.weight.copy_(sol[:-1].T)
        e.embeddings_project.bias.copy_(sol[-1])
