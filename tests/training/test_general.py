"""Laws of general distillation: which tokens are guessed, what learns, and that it is thrown away."""

import copy
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything
from support.families import CONFIGS, PARAMETERS
from support.pipelines import FAST
from torch import nn
from torch.nn import functional

from clinlm.models.adapters.full import Full
from clinlm.models.initializers.factorized import Factorized
from clinlm.models.model import Model, ModelSpec
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.general import General
from clinlm.training.modules.masked_language import MaskedLanguageHead, Masking

MASK, SPECIAL, OTHERS = 4, torch.tensor([0, 1, 2, 3, 4]), torch.arange(5, 100)


def fit(model: Model, task: MultiLabel, epochs: int = 1, **settings: Any) -> General:
    seed_everything(0, verbose=False)
    data = TaskData(task, model.tokenizer, model.max_tokens, batch_size=8)
    module = General(model, data, Full(), FAST, **settings)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module.train(), datamodule=data)
    return module


def rows(lengths: list[int], width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of random tokens between two special ones."""
    torch.manual_seed(seed)
    keep = torch.arange(width) < torch.tensor(lengths)[:, None]
    tokens = torch.where(keep, torch.randint(5, 100, keep.shape), 0)
    tokens[:, 0] = 2
    tokens[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 3
    return tokens, keep


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_a_share_of_every_row_is_guessed(share: float) -> None:
    lengths = [3, 12, 42, 102]
    tokens, keep = rows(lengths, 110)
    read, chosen = Masking(share, MASK, SPECIAL, OTHERS)(tokens, keep)
    assert chosen.sum(1).tolist() == [max(1, round(share * (length - 2))) for length in lengths]
    assert not (chosen & torch.isin(tokens, SPECIAL)).any() and not (chosen & ~keep).any()
    assert read[~chosen].equal(tokens[~chosen])


def test_what_stands_in_their_place() -> None:
    tokens, keep = rows([502] * 60, 502)
    read, chosen = Masking(0.5, MASK, SPECIAL, OTHERS)(tokens, keep)
    masked, same = read[chosen] == MASK, read[chosen] == tokens[chosen]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert same.float().mean().item() == pytest.approx(0.1, abs=0.02)
    other = read[chosen][~masked & ~same]
    assert torch.isin(other, OTHERS).all() and len(other.unique()) > 80


def test_the_generator_decides() -> None:
    tokens, keep = rows([40, 40], 40)
    masking = Masking(0.15, MASK, SPECIAL, OTHERS)
    first, again, other = (masking(tokens, keep, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first[0].equal(again[0]) and first[1].equal(again[1]) and not first[1].equal(other[1])
    torch.manual_seed(0)
    assert not masking(tokens, keep)[1].equal(masking(tokens, keep)[1])


def test_rows_without_words_are_left_alone() -> None:
    tokens = torch.tensor([[2, 3, 0], [2, 7, 3]])
    _, chosen = Masking(0.15, MASK, SPECIAL, OTHERS)(tokens, tokens != 0)
    assert chosen.tolist() == [[False] * 3, [False, True, False]]


def test_the_head_a_second_way() -> None:
    torch.manual_seed(0)
    head, hidden, words = MaskedLanguageHead(6, 4, 9), torch.randn(3, 6), torch.randn(9, 4)
    nn.init.normal_(head.bias)
    state = head.dense.weight @ hidden[0] + head.dense.bias
    state = state * 0.5 * (1 + torch.erf(state / 2**0.5))
    state = (state - state.mean()) / (state.var(correction=0) + head.norm.eps).sqrt()
    torch.testing.assert_close(head(hidden, words)[0], words @ state + head.bias, rtol=1e-4, atol=1e-5)


def test_it_learns_to_guess_and_leaves_nothing_behind(task: MultiLabel, tiny_model: Model) -> None:
    before = copy.deepcopy(tiny_model.network)
    losses = []
    for epochs in (0, 6):
        module = fit(copy.deepcopy(tiny_model), task, epochs)
        batches = list(module.data.val_dataloader())
        module.eval()
        with torch.no_grad():
            for number, batch in enumerate(batches):
                module.validation_step(batch, number)
        loss, tokens = (sum(parts) for parts in zip(*module._guessed, strict=True))
        losses.append(loss / tokens)
    assert losses[1] < 0.9 * losses[0]
    assert float(module.trainer.callback_metrics["val/mlm_loss"]) == pytest.approx(losses[1], rel=1e-4)
    after = module.network.state_dict()
    assert after.keys() == before.state_dict().keys()
    changed = {name for name, tensor in after.items() if not tensor.equal(before.state_dict()[name])}
    assert "body.embeddings.word_embeddings.weight" in changed
    assert not changed & {"head.weight", "head.bias"}, "it has no labels to learn from"
    assert [n for n, _ in module.network.named_modules()] == [n for n, _ in before.named_modules()]


def test_no_label_is_read(task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for flipped in (False, True):
        model = copy.deepcopy(tiny_model)
        if flipped:
            monkeypatch.setitem(vars(task), "examples", copy.copy(task.examples))
            object.__setattr__(task.examples, "targets", ~task.examples.targets)
        ends.append(fit(model, task).network.state_dict())
    assert all(tensor.equal(ends[1][name]) for name, tensor in ends[0].items())


def test_the_loss_is_that_of_the_tokens_guessed(task: MultiLabel, tiny_model: Model) -> None:
    module = fit(tiny_model, task, 0)
    module.eval()
    batch = module.data.collate([0, 5, 9])
    torch.manual_seed(3)
    masked = module.read(batch)
    total, count = 0.0, 0
    with torch.no_grad():
        loss = module.own_loss(masked).item()
        for row in range(len(batch["input_ids"])):
            length = int(batch["attention_mask"][row].sum())
            alone = masked["input_ids"][row : row + 1, :length]
            body: Any = tiny_model.network.body
            hidden = body(input_ids=alone, attention_mask=torch.ones_like(alone)).last_hidden_state[0]
            for place in masked["chosen"][row].nonzero().flatten():
                words = tiny_model.network.body.embeddings.word_embeddings.weight  # type: ignore[union-attr]
                logits = module.guess(hidden[place : place + 1], words)
                total += functional.cross_entropy(logits, batch["input_ids"][row, place : place + 1]).item()
                count += 1
    assert count >= 3 and loss == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("family", PARAMETERS)
def test_every_family_guesses(family: str, task: MultiLabel, tiny_model: Model) -> None:
    shape = CONFIGS[family] | {"vocab_size": 150, "max_position_embeddings": 64, "pad_token_id": 0}
    described = ModelSpec(shape, task.outputs)
    module = fit(Model(described, described.build(), tiny_model.tokenizer), task, 1)
    assert torch.isfinite(module.trainer.callback_metrics["val/mlm_loss"])
    assert all(p.isfinite().all() for p in module.network.parameters())


def test_narrow_embeddings_guess(task: MultiLabel, tiny_model: Model) -> None:
    student = Factorized(8, 16, layers=1, heads=2, intermediate_size=8).begin(task, tiny_model)
    assert torch.isfinite(fit(student, task).trainer.callback_metrics["val/mlm_loss"])


def test_settings_are_checked(task: MultiLabel, tiny_model: Model) -> None:
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"general.share must be in \(0, 1\), got"):
            fit(tiny_model, task, share=share)
    tiny_model.tokenizer.mask_token = None
    with pytest.raises(ValueError, match="a tokenizer with a mask token, got one without; remove the stage"):
        fit(tiny_model, task)
