"""What the user reads when Hydra refuses an override: a remedy for every kind of mistake."""

import shlex

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from clinlm.config.near_names import did_you_mean
from clinlm.config.remedies import explain, typed_override
from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF


def message(override: str) -> str:
    """Return how an override is explained that Hydra refuses."""
    register_resolvers()
    with (
        hydra.initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises((HydraException, OmegaConfBaseException, ValueError)) as caught,
    ):
        hydra.compose("config", [override], return_hydra_config=True)
    HydraConfig.instance().cfg = None
    return explain(caught.value)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("epoch=3", "epochs"),
        ("prun=random", "prune"),
        ("pipline=a", "pipeline"),
        ("~prunn", "prune"),
        ("pipeline=baselin", "baseline"),
        ("prune=smart_grifin", "smart_griffin"),
        ("+experiment=smart_grifin", "smart_griffin"),
        ("model@techer=tiny", "model@teacher"),
        ("model=tiny", "model@student or model@teacher"),
        ("model@teacher=tny", "tiny"),
        ("prune.ration=0.3", "prune.ratio"),
        ("task.corpus.patient=3", "task.corpus.patients"),
        ("~stages.recover_studnet", "stages.recover_student"),
        ("sweep=smart_grifin", "+sweep=smart_griffin"),
        ("labels=3", "labeler or task.labels"),
    ],
)
def test_the_nearest_name_is_suggested_and_never_the_one_that_failed(override: str, meant: str) -> None:
    found = message(override)
    assert found.endswith(f"; did you mean {meant}?"), found
    assert "\n" not in found and override.lstrip("+~")[:4] in found


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("sweep=smart_griffin", "the group sweep has no default to override; add an option with +sweep=smart_griffin"),
        ("+pipeline=a", "the group pipeline has an option already; write pipeline=a without +"),
        ("prune=null", "got null; write GROUP=none"),
        ("seed", "arguments must be KEY=VALUE, got 'seed'"),
        ("prune.zzz=3", "unknown setting 'prune.zzz'; prune has documents, ratio, "),
        ("zzz=3", "unknown setting 'zzz'; `clinlm --cfg job` prints all settings (to add it: +zzz=3)"),
        ("pipeline=zzzz", "unknown option pipeline=zzzz; options: a, b, baseline, c, "),
        ("sweep=zzzz", "unknown option sweep=zzzz; add +sweep= one of "),
        ("hydra/launcher=zzzz", "pip install 'clinlm[joblib]', [submitit] or [ray]"),
        ("epochs=[3", "no viable alternative at input '[3'; See https://hydra.cc/"),
    ],
)
def test_without_a_near_name_there_is_another_remedy(override: str, remedy: str) -> None:
    found = message(override)
    assert remedy in found and "did you mean" not in found and "\n" not in found


@pytest.mark.parametrize(
    "value", ["a=b", "c#d.csv", "x(1).csv", "it's", 'a"b', 'a\\"b', "été", "a&b;c", "<a>", "a=b\\"]
)
def test_text_with_characters_of_the_grammar_is_typed_in_quotes(value: str) -> None:
    """What the message says to write is read as the text that was meant."""
    found = message(f"store={value}")
    assert found.startswith("text with the characters ") and f"got store={value}; write " in found
    (typed,) = shlex.split(found.partition("; write ")[2])
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        assert hydra.compose("config", [typed]).store == value


def test_a_list_and_a_text_with_commas_are_told_apart() -> None:
    assert "write 'report.show=[\"a=b\",c d]'" in message("report.show=[a=b,c d]")
    found = message("store=a,b.csv")
    assert "'store=\"a,b.csv\"' is one text with commas, 'store=[a,b.csv]' is a list" in found


@pytest.mark.parametrize(
    "value", ["a", "a b", " a", "", "1", "1.5", "1e5", "null", "TRUE", "no", "[x]", "a,b", "C:\\x"]
)
def test_a_typed_override_is_read_as_the_text(value: str) -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [*shlex.split(typed_override("store", value)), *shlex.split(typed_override("report.show", [value]))]
        config = hydra.compose("config", chosen)
    assert config.store == value and list(config.report.show) == [value]


def test_names_as_near_as_the_nearest_are_suggested() -> None:
    assert did_you_mean("wnda", ["wanda", "random", "wnda"]) == "; did you mean wanda?"
    assert did_you_mean("abc1", ["abc2", "abc3", "xyz"]) == "; did you mean abc3 or abc2?"
    assert did_you_mean("abc", ["xyz"]) == ""
    assert explain(KeyError("a\nb")) == str(KeyError("a\nb"))
