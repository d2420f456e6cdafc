"""Laws of every family that can be fine-tuned: its longest row, its padding, and its skeleton from plain data."""

from typing import Any

import pytest
import torch
from support.encoders import CONFIGS
from transformers import AutoConfig

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models import encoders
from clinlm.models.initializers.base import plain_config
from clinlm.models.initializers.pretrained import keep_positions
from clinlm.models.memory import minimal, run_random_row
from clinlm.models.model import ModelSpec

ROTARY = ("eurobert", "modernbert", "nomic_bert")
"""Families without a position table: nothing but training ends their rows."""


def test_every_family_is_tried() -> None:
    assert {*CONFIGS} == encoders.FINE_TUNABLE


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_the_longest_row_runs_and_one_token_more_does_not(family: str) -> None:
    torch.manual_seed(0)
    spec = ModelSpec({"model_type": family} | CONFIGS[family], 3)
    encoders.check_family(spec.config, "here")
    network = spec.build().eval()
    config: Any = network.body.config
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)  # so that padding has a vector of its own
        longest = encoders.max_positions(config)
        assert longest == 20 - (2 if "pad_token_id" in CONFIGS[family] and config.pad_token_id == 1 else 0)
        ids = torch.randint(5, 40, (2, longest + 1))
        whole = network(ids[:, :longest], torch.ones_like(ids[:, :longest]))
        if family not in ROTARY:
            with pytest.raises((IndexError, RuntimeError)):
                network(ids, torch.ones_like(ids))
        short = torch.full_like(ids[:, :12], config.pad_token_id or 0)
        short[:, :7] = ids[:, :7]
        padded = network(short, (torch.arange(12) < 7).long().expand(2, 12))
        alone = network(ids[:, :7], torch.ones_like(ids[:, :7]))
        assert torch.allclose(padded, alone, atol=1e-4) == (family not in encoders.READS_PADDING)
        again = ModelSpec(plain_config(config), 3).build().eval()
        again.load_state_dict(network.state_dict(), strict=True)
        assert again(ids[:, :longest], torch.ones_like(ids[:, :longest])).equal(whole)
        if family in ROTARY:
            with pytest.raises(ConfigError, match="needs learnt positions"):
                keep_positions(network.body, 9)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_memory_is_measured_against_a_minimal_network(family: str) -> None:
    """Also where the padding token comes after the minimal vocabulary, as ModernBERT's does."""
    config = CONFIGS[family] | ({"pad_token_id": 39} if family in ROTARY else {})
    spec = minimal(ModelSpec({"model_type": family} | config, 3))
    network = spec.build().eval()
    run_random_row(network, 2)
    assert sum(p.numel() for p in network.parameters()) < 6000


@pytest.mark.parametrize(
    ("family", "why"),
    [("t5", "decoder"), ("bart", "decoder"), ("squeezebert", "pooler"), ("xlnet", "memory"), ("funnel", "shorter")]
    + [("gpt2", "clinlm does not know")],
)
def test_other_families_are_refused_with_the_reason(family: str, why: str) -> None:
    config = AutoConfig.for_model(family, block_sizes=[1]) if family == "funnel" else AutoConfig.for_model(family)
    with pytest.raises(ModelError, match=f"/models/x must be an encoder.*got {family}: .*{why}.*megatron-bert"):
        encoders.check_family(config.to_dict(), "/models/x")


def test_a_decoder_of_a_known_family_is_refused() -> None:
    with pytest.raises(ModelError, match="got bert: it reads from left to right only"):
        encoders.check_family({"model_type": "bert", "is_decoder": True}, "x")


def test_positions_after_padding_need_the_id_of_padding() -> None:
    with pytest.raises(ModelError, match="must name the pad_token_id, from which esm counts positions"):
        encoders.max_positions(AutoConfig.for_model("esm", vocab_size=33, pad_token_id=None))
