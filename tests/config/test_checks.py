"""Laws of checks without imports: they say what the class says, and refuse no value of a yaml."""

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from clinlm.config.checks import check_arguments, check_values
from clinlm.config.errors import ConfigError
from clinlm.config.settings import compose
from clinlm.config.validation import CONF


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("callbacks.prune.magnitude.Magnitude", {"ratio": 7}),  # a function that the constructor of its base calls
        ("callbacks.prune.unstructured.Unstructured", {"scope": "x", "schedule": None}),
        ("callbacks.schedules.cubic.Cubic", {"begin": 0.9}),  # together with a default
        ("callbacks.quantize.qat.Qat", {"epochs": 0}),
        ("clinlm.training.distillation.Distillation", {"alpha": 2, "temperature": 1.0}),  # a dataclass
        ("clinlm.text.long_notes.Windows", {"overlap": 2}),
        ("clinlm.models.adapters.dora.Dora", {"r": 0}),
    ],
)
def test_a_check_says_what_the_class_says(target: str, given: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as of_class:
        get_object(target)(**given)
    with pytest.raises(ConfigError) as of_source:
        check_arguments(target, given)
    assert str(of_source.value) == str(of_class.value)


def test_values_of_yamls_pass() -> None:
    for path in CONF.glob("*/*.yaml"):
        loaded = OmegaConf.load(path)
        given = OmegaConf.to_container(loaded)
        assert isinstance(given, dict)
        known = {str(name): value for name, value in given.items() if "${" not in str(value) and value != "???"}
        check_arguments(str(known.get("_target_", "")), known)


def test_the_values_of_what_is_read_are_checked() -> None:
    check_values(compose("config", ["pipeline=baseline", "prune.ratio=7"]))
    with pytest.raises(ConfigError, match=r"prune.ratio must be in \(0, 1\), got 7"):
        check_values(compose("config", ["pipeline=c", "prune.ratio=7"]))
