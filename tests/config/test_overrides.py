"""A setting that a yaml leaves at its default can be overridden like one that it states."""

import inspect

import hydra
import pytest
from hydra.errors import ConfigCompositionException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from clinlm.config.overrides import parameters
from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF


def composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def test_a_parameter_needs_no_plus() -> None:
    config = composed("prune.statistic=activation", "report.machine.currency=EUR", "task.calibrate=temperature")
    assert config.prune.statistic == "activation" and config.report.machine.currency == "EUR"
    assert config.task.calibrate == "temperature"


@pytest.mark.parametrize("override", ["prune.statistik=activation", "epoch=3", "task.corpus.patient=3", "stages.x.y=1"])
def test_what_is_no_parameter_is_refused(override: str) -> None:
    with pytest.raises(ConfigCompositionException, match=f"Could not override '{override.partition('=')[0]}'"):
        composed(override)


@pytest.mark.parametrize("group", sorted({path.parent.name for path in CONF.glob("*/*.yaml")}))
def test_parameters_read_from_source_are_those_of_the_signature(group: str) -> None:
    for path in CONF.glob(f"{group}/*.yaml"):
        target = OmegaConf.load(path).get("_target_")
        if target is not None:
            assert parameters(target) == set(inspect.signature(get_object(target)).parameters)
