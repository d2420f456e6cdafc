"""Sizes count what is there once."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from clinlm.models.size import count_nonzero, count_parameters, folder_bytes


class Mask(nn.Module):
    """Keeps every second number."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        keep = torch.arange(weight.numel()).reshape(weight.shape) % 2
        return weight * keep


def test_tied_tensors_count_once() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10))
    assert count_parameters(model) == 40 + 40 + 10
    model[1].weight = model[0].weight
    assert count_parameters(model) == 40 + 10


def test_zeros_count_as_parameters_only() -> None:
    model = nn.Linear(4, 3)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    assert (count_parameters(model), count_nonzero(model)) == (15, 12)


def test_a_mask_shows_in_nonzero_and_not_in_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    parametrize.register_parametrization(model[0], "weight", Mask())
    assert (count_parameters(model), count_nonzero(model)) == (36, 28)
    parametrize.remove_parametrizations(model[0], "weight")
    assert (count_parameters(model), count_nonzero(model)) == (36, 28)


def test_tied_masks_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    for module in model:
        parametrize.register_parametrization(module, "weight", Mask())
    assert count_parameters(model) == 16


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.bin").write_bytes(b"x" * 100)
    (tmp_path / "deep" / "b.bin").write_bytes(b"x" * 10)
    assert folder_bytes(tmp_path) == 110
    assert folder_bytes(tmp_path, {"a.bin"}) == 10
    assert folder_bytes(tmp_path, ["deep"]) == 100
    with pytest.raises(FileNotFoundError, match="must exist"):
        folder_bytes(tmp_path / "a.bin")
