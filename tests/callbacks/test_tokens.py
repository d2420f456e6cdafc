"""Laws of token pruning: what is dropped, a second way; what it costs; what beside a row changes nothing; refusals."""

import copy
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import families
from support.pipelines import FAST, kept
from torch import Tensor, nn

from callbacks.prune.depth import Depth
from callbacks.prune.tokens import Tokens
from clinlm.compression.calibration import input_ranges
from clinlm.compression.token_shares import LEVELS, choose_shares
from clinlm.config.errors import ConfigError, ModelError
from clinlm.engines.hugging_face import write_hub_folder
from clinlm.engines.onnxruntime import Onnxruntime
from clinlm.engines.openvino import Openvino
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.families import TOKEN_PRUNABLE
from clinlm.models.layers.token_pruning_encoder import best_tokens, received
from clinlm.models.model import Edit, Model, Network
from clinlm.models.surgery import keep_layers, prune_tokens
from clinlm.tasks.data import TaskData
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.training.modules.teacher import Teacher
from clinlm.training.promises import TokensKept

pytestmark = pytest.mark.usefixtures("quick")
FAMILIES = [name for name, config in families.CONFIGS.items() if config["model_type"] in TOKEN_PRUNABLE]
LONGEST = families.CONFIGS["bert"]["max_position_embeddings"]
PERCENTS = [80, 80, 45]
LENGTHS = (20, 13, 1, 6)


def rows(*lengths: int) -> tuple[Tensor, Tensor]:
    """Random tokens of these lengths, padded, and their mask."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, families.VOCABULARY, mask.shape, generator=draw)
    return torch.where(mask == 1, ids, 1 - mask), mask


def pruned(network: Network, percents: list[int] = PERCENTS) -> Network:
    made = copy.deepcopy(network)
    prune_tokens(made, percents)
    return made.eval()


@torch.no_grad()
def in_full_length(network: Network, percents: list[int], ids: Tensor) -> Tensor:
    """The logits of a BERT for one row, whose dropped tokens stay, but are attended by nobody and not pooled."""
    body: Any = network.body
    left = torch.ones(ids.shape[1], dtype=torch.bool)
    hidden = body.embeddings(input_ids=ids)
    body.set_attn_implementation("eager")
    for layer, percent in zip(body.encoder.layer, percents, strict=True):
        mask = torch.zeros(len(left)).masked_fill(~left, -1e9)[None, None, None]
        _, weights = layer.attention.self(hidden, mask)
        hidden = layer(hidden, mask)
        scores = weights[0].mean(0)[left].mean(0).masked_fill(~left, -1)
        scores[0] = 2
        count = -(-len(left) * percent // 100)
        left = torch.zeros_like(left).scatter(0, scores.argsort(descending=True)[:count], True)
    mask = left[None].long()
    logits: Tensor = network.head(network.pooling(hidden, mask))
    return network.pooling.by_label(logits, hidden, mask) if network.pooling.name == "label_attention" else logits


@pytest.mark.parametrize("pooling", ["mean", "cls", "max_mean", "attention", "label_attention"])
def test_what_is_dropped(pooling: Any) -> None:
    network = families.network("bert", pooling=pooling)
    for length in (1, 2, 7, 20):
        ids, mask = rows(length)
        with torch.no_grad():
            answer = pruned(network)(ids, mask)
        expected = in_full_length(copy.deepcopy(network), PERCENTS, ids)
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_row_is_answered_alone_as_in_a_batch_and_a_share_of_100_changes_nothing(family: str) -> None:
    network = families.network(family)
    ids, mask = rows(*LENGTHS)
    for given in ((ids, mask), rows(LONGEST - 2)):
        assert torch.equal(pruned(network, [100] * families.LAYERS)(*given), network(*given))
    made = pruned(network)
    together = made(ids, mask)
    assert (together - network(ids, mask)).abs().max() > 1e-4, "something is dropped"
    for number, length in enumerate(LENGTHS):
        alone = made(ids[number : number + 1, :length], mask[number : number + 1, :length])
        torch.testing.assert_close(alone[0], together[number], rtol=0, atol=1e-5)


def test_of_equal_tokens_the_first_are_kept() -> None:
    scores = torch.ones(2, 1000)
    scores[1, 500:] = 2
    read = torch.arange(1000)[None] < torch.tensor([[1000], [900]])
    first, second = best_tokens(scores, read, 300).tolist()
    assert first == [*range(300)] and second == [0, *range(500, 799)]


def test_gradients_flow_through_kept_tokens() -> None:
    made = pruned(families.network("bert")).train()
    made(*rows(*LENGTHS)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    assert all(layer.query.weight.grad.abs().max() > 0 for layer in structure.layer_parts(made.body))  # type: ignore[union-attr]


@pytest.mark.usefixtures("graphs")
@pytest.mark.integration  # an export takes ten seconds
def test_engines_answer_as_torch_at_every_length(tmp_path: Path) -> None:
    made = pruned(families.network("bert"))
    model = Model(None, made, None)  # type: ignore[arg-type]
    for engine in (Onnxruntime(), Openvino()):
        folder = tmp_path / engine.name
        folder.mkdir()
        engine.export(model, folder)
        answer = engine.open(folder, 1)
        for lengths in (*((n,) for n in range(1, LONGEST + 1)), LENGTHS):
            ids, mask = rows(*lengths)
            with torch.no_grad():
                wanted = made(ids, mask).numpy()
            np.testing.assert_allclose(answer(ids.numpy(), mask.numpy()), wanted, rtol=1e-3, atol=1e-3)


# The choice.


def test_the_best_shares_are_found() -> None:
    draw = np.random.default_rng(0)
    errors = np.cumsum(draw.random((3, 4)), 1)
    errors[:, 0] = 0
    after = np.array([8.0, 6.0, 3.0, 1.0])
    costs = np.stack([after[:, None] + 3 * after[None]] * 3)
    for budget in (20.0, 40.0, 70.0, 97.0):
        every = [levels for levels in itertools.product(range(4), repeat=3) if list(levels) == sorted(levels)]
        paths = [list(zip((0, *levels), levels, strict=False)) for levels in every]
        cost = [sum(costs[0][step] for step in path) for path in paths]
        error = [sum(own[new] - own[old] for own, (old, new) in zip(errors, path, strict=True)) for path in paths]
        allowed = [(lost, levels) for lost, levels, own in zip(error, every, cost, strict=True) if own <= budget]
        found = choose_shares(errors, costs, budget)
        if not allowed:
            assert found is None
            continue
        assert found is not None
        assert [LEVELS[level] for level in min(allowed)[1]] == found.percents
        assert sum(found.errors) == pytest.approx(min(allowed)[0])


def bound(task: MultiLabel, model: Model) -> Teacher:
    return Teacher(model, TaskData(task, model.tokenizer, 32), Full(), FAST, seed=3)


def test_the_report_says_what_is_computed(task: MultiLabel, tiny_model: Model) -> None:
    """Multiplications are counted again, by the shapes of what linear layers and attention get."""
    module, method = bound(task, tiny_model), Tokens(0.4, documents=5)
    method.prepare(module)
    report = method.report().of(TokensKept)
    wanted = [row.multiplications_after for row in report]
    before = sum(row.multiplications_before for row in report)
    assert 0.4 <= 1 - sum(wanted) / before < 0.55
    assert [row.percent for row in report] == sorted((row.percent for row in report), reverse=True)
    counted, seen = [0] * len(report), list[float]()
    for number, layer in enumerate(structure.layer_parts(module.network.body)):

        def count(linear: nn.Module, inputs: Any, number: int = number, layer: Any = layer) -> None:
            assert isinstance(linear, nn.Linear)
            counted[number] += linear.weight.numel() * inputs[0].shape[0] * inputs[0].shape[1]
            if linear is layer.query:
                counted[number] += 2 * linear.out_features * inputs[0].shape[1] ** 2
            if linear is layer.down:
                seen.append(inputs[0].shape[1])

        for linear in layer.linears:
            linear.register_forward_pre_hook(count)
    batches = module.data.calibration(5, module.seed)
    documents = [int(number) for batch in batches for number in batch["index"]]
    module.network.eval()
    with torch.no_grad():
        for document in documents:
            one = module.data.collate([document])
            module.network(one["input_ids"], one["attention_mask"])
    assert counted == wanted
    assert np.reshape(seen, (len(documents), -1)).mean(0).tolist() == pytest.approx(
        [row.tokens_after for row in report]
    )


def test_the_score_is_the_attention_of_tokens_that_are_read() -> None:
    weights = torch.tensor([[[[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]]]])
    read = torch.tensor([[True, True, False]])
    torch.testing.assert_close(received(weights, read), torch.tensor([[0.9, 1.1, 0.0]]))


def test_calibration_sees_no_padding(task: MultiLabel, tiny_model: Model) -> None:
    """Also behind layers that drop tokens, whose inputs have another length than the mask."""
    module = bound(task, tiny_model)
    prune_tokens(module.network, [100, 70, 70, 40])
    linears = {n: m for n, m in module.network.named_modules() if isinstance(m, nn.Linear) and n.startswith("body")}
    together = input_ranges(module, linears, 9, module.seed)
    alone: dict[str, list[Tensor]] = {name: [] for name in linears}
    for name, linear in linears.items():
        linear.register_forward_pre_hook(lambda _, given, name=name: alone[name].append(given[0].flatten(0, -2)))  # type: ignore[misc]
    module.network.eval()
    with torch.no_grad():
        for document in itertools.chain.from_iterable(module.data.drawn(9, module.seed)):
            one = module.data.collate([document])
            module.network(one["input_ids"], one["attention_mask"])
    for name, (low, high) in together.items():
        seen = torch.cat(alone[name])
        torch.testing.assert_close((low, high), (seen.amin(0), seen.amax(0)), rtol=1e-4, atol=1e-5)


# What is refused.


@pytest.mark.parametrize("percents", [[100, 100], [100, 50, 60], [100, 50, 0], [101, 50, 50]])
def test_wrong_shares_are_refused(percents: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"percents of tokens must be one in \[1, 100\] for each of 3 layers"):
        prune_tokens(families.network("bert"), percents)


def test_networks_that_cannot_drop_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs one answer a row, got a tagger"):
        prune_tokens(families.network("bert", pooling="none"), PERCENTS)
    with pytest.raises(ConfigError, match="needs positions in the embeddings alone .*, got mpnet"):
        prune_tokens(families.network("mpnet"), PERCENTS)


def test_layers_are_cut_before(tiny_model: Model) -> None:
    prune_tokens(tiny_model.network, [100, 100, 50, 50])
    for cut in (lambda: prune_tokens(tiny_model.network, [50] * 4), lambda: keep_layers(tiny_model.network, [0, 1])):
        with pytest.raises(ModelError, match="put prune=tokens after the stages that do this, once"):
            cut()
    with pytest.raises(ModelError, match="layers must see all tokens"):
        Depth(0.25).sizes(tiny_model.network.body)


def test_transformers_cannot_open_it(tmp_path: Path, tiny_model: Model, task: MultiLabel) -> None:
    tiny_model.apply(Edit("clinlm.models.surgery.prune_tokens", {"percents": [100, 100, 50, 50]}))
    artifact = kept(tiny_model, tmp_path / "artifact")
    InferenceConfig("multilabel", task.examples.labels, np.full(4, 0.5), 32, Head()).save(artifact.folder)
    with pytest.raises(ModelError, match="layers that drop tokens are clinlm's own"):
        write_hub_folder(artifact.folder, tmp_path / "hub")


def test_more_than_all_later_layers_cannot_be_removed(task: MultiLabel, tiny_model: Model) -> None:
    module, message = bound(task, tiny_model), r"prune.ratio must be at most (0\.\d\d) on these documents, got 0.99"
    with pytest.raises(ConfigError, match=message) as refused:
        Tokens(0.99, documents=5).prepare(module)
    most = float(re.findall(message, str(refused.value))[0])
    with pytest.raises(ConfigError, match="prune.ratio must be at most"):
        Tokens(most + 0.02, documents=5).prepare(module)
    Tokens(most, documents=5).prepare(module)
