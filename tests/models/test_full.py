"""Laws of the adapter that lets everything learn."""

import torch

from clinlm.models.adapters.full import Full
from clinlm.models.model import Model


def test_everything_learns_and_nothing_changes(tiny_model: Model) -> None:
    network = tiny_model.network
    network.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    adapter = Full()
    adapter.attach(network)
    assert all(parameter.requires_grad for parameter in network.parameters())
    adapter.merge(network)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
