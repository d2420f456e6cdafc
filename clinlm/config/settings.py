"""Settings: composed from the configuration on disk, and as plain JSON."""

from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF


def compose(name: str, overrides: Sequence[str]) -> DictConfig:
    """Return a configuration of `conf/` with overrides applied.

    Raises:
        HydraException, OmegaConfBaseException: an override does not fit.
    """
    register_resolvers()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, list(overrides))


def plain(node: Any) -> dict[str, Any]:
    """Return a node of the configuration as plain JSON, every interpolation resolved."""
    resolved = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(name): value for name, value in resolved.items()}
