"""Settings of the configuration as plain JSON."""

from typing import Any

from omegaconf import OmegaConf


def plain(node: Any) -> dict[str, Any]:
    """Return a node of the configuration as plain JSON, every interpolation resolved."""
    resolved = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(name): value for name, value in resolved.items()}
