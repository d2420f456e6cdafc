"""Laws of `conf/`: every option of every group composes, resolves, binds to its class and can be built."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import MissingExtraError
from clinlm.config.resolvers import register_resolvers
from clinlm.config.usage import is_read, left_out, read_settings
from clinlm.config.validation import CONF
from clinlm.pipeline.plan import plan
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.tracking.opened import open_logger

FILES = sorted(CONF.glob("*/*.yaml"))
RESERVED = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_", "times", "members", "method", "adapter"}
"""What no signature has: Hydra's own words, how many stages one stands for, and what a stage hands to its module."""
ABSENT = "none"
"""The option of a slot that may stay empty: it sets the slot to null."""
ADDED = ("experiment", "sweep")
"""Groups that a user adds with +; they change other slots."""
INNER = ("corpus", "hydra", "lexicon", "module", "published", "stage")
"""Groups that no slot holds: parts of tasks and stages, data that a report reads, and Hydra's own."""
METHODS = ("prune", "factorize", "quantize", "recover")


def slots() -> list[tuple[str, str]]:
    """Group and slot of every line of the defaults list, such as ("model", "teacher")."""
    lines = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))["defaults"]  # type: ignore[call-overload, index]
    names = [name for line in lines if isinstance(line, Mapping) for name in line if not name.startswith("override ")]
    return [(name.partition("@")[0], name.partition("@")[2] or name) for name in names]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in CONF.glob(f"{group}/*.yaml"))


def rows() -> list[tuple[str, ...]]:
    """Choices to compose together: row n has the n-th option of every slot, or starts over where there are fewer.

    What chooses for other slots (pipelines, experiments, sweeps) stands alone.
    """
    slotted = {group if group == slot else f"{group}@{slot}": options(group) for group, slot in slots()}
    alone = {"pipeline": slotted.pop("pipeline"), **{f"+{group}": options(group) for group in ADDED}}
    together = [
        tuple(f"{place}={found[number % len(found)]}" for place, found in slotted.items())
        for number in range(max(map(len, slotted.values())))
    ]
    return together + [(f"{place}={option}",) for place, found in alone.items() for option in found]


def slot_choices() -> dict[str, tuple[str, ...]]:
    """The first row of every option of a slot."""
    found: dict[str, tuple[str, ...]] = {}
    for row in rows():
        for choice in row:
            if not choice.startswith("+"):
                found.setdefault(choice, row)
    return found


@cache
def unresolved(*overrides: str) -> DictConfig:
    """The configuration and Hydra's own."""
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", list(overrides), return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.sweep.dir = "outputs/sweeps/then"
    return config


@cache
def composed(*overrides: str) -> DictConfig:
    """The configuration and Hydra's callbacks, every `???` filled in and every interpolation resolved."""
    return resolved(unresolved(*overrides))


def resolved(config: DictConfig) -> DictConfig:
    HydraConfig.instance().set_config(config)
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_struct(kept, False)
    kept.sweep_callbacks = config.hydra.callbacks
    for key in OmegaConf.missing_keys(kept):
        OmegaConf.update(kept, key, "/somewhere")
    try:
        found = OmegaConf.create(OmegaConf.to_container(kept, resolve=True, throw_on_missing=True))
    finally:
        HydraConfig.instance().cfg = None
    assert isinstance(found, DictConfig)
    return found


@cache
def planned(*overrides: str) -> list[StageSpec]:
    return plan(composed(*overrides))


def targets(node: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a `_target_`, and where it stands."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield place, node
        for name, value in node.items():
            yield from targets(value, f"{place}.{name}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from targets(value, f"{place}[{number}]")


def unbound(node: Mapping[str, Any]) -> list[str]:
    """What keeps a node from binding to the signature of its target."""
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    given = set(node) - RESERVED
    wrong = [f"has no parameter {name!r}" for name in sorted(given - set(parameters))]
    if not node.get("_partial_"):
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in kinds]
        wrong += [f"lacks {name!r}" for name in needed if name not in given]
    return [f"{node['_target_']} {one}" for one in wrong]


def test_every_folder_is_a_slot_or_known() -> None:
    known = {group for group, _ in slots()} | set(ADDED) | set(INNER)
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == known


def test_every_option_stands_in_a_row() -> None:
    found = {choice for row in rows() for choice in row}
    places = [(group if group == slot else f"{group}@{slot}", group) for group, slot in slots()]
    places += [(f"+{group}", group) for group in ADDED]
    assert found == {f"{place}={option}" for place, group in places for option in options(group)}


@pytest.mark.parametrize("group", sorted({row[0].partition("=")[0] for row in rows()}))
def test_every_option_composes_resolves_and_binds(group: str, subtests: pytest.Subtests) -> None:
    for row in (row for row in rows() if row[0].partition("=")[0] == group):
        with subtests.test(row=row):
            plain = OmegaConf.to_container(composed(*row))
            found = list(targets(plain))
            assert [f"{place}: {wrong}" for place, node in found for wrong in unbound(node)] == []
            assert json.dumps(plain, allow_nan=False), "settings are JSON: they are hashed and logged"


@pytest.mark.parametrize("group", sorted({path.parent.name for path in FILES}))
def test_every_yaml_binds_to_its_signature(group: str, subtests: pytest.Subtests) -> None:
    for path in (path for path in FILES if path.parent.name == group):
        with subtests.test(option=path.stem):
            for place, node in targets(OmegaConf.to_container(OmegaConf.load(path))):
                if node["_target_"].startswith("${"):  # of another slot: checked where it is composed
                    continue
                parameters = inspect.signature(get_object(node["_target_"])).parameters
                assert set(node) - RESERVED - {"defaults"} <= set(parameters), place


def test_what_does_not_bind_is_found() -> None:
    node = {"_target_": "clinlm.models.adapters.lora.Lora", "rank": 8}
    assert unbound(node) == ["clinlm.models.adapters.lora.Lora has no parameter 'rank'"]
    assert unbound({"_target_": "clinlm.models.initializers.pretrained.Pretrained"}) == [
        "clinlm.models.initializers.pretrained.Pretrained lacks 'name'"
    ]
    assert unbound({"_target_": "clinlm.models.initializers.pretrained.Pretrained", "_partial_": True}) == []


@pytest.mark.parametrize("place", sorted({choice.partition("=")[0] for choice in slot_choices()}))
def test_every_option_can_be_built(place: str, subtests: pytest.Subtests) -> None:
    """Every value in a yaml is within the range that its class allows. Nothing is read, fetched or trained."""
    slot = place.rpartition("@")[2]
    for choice, row in slot_choices().items():
        if choice.partition("=")[0] != place:
            continue
        with subtests.test(choice=choice):
            config = composed(*row)
            if slot == "pipeline":
                assert planned(*row)
            elif choice == f"{slot}={ABSENT}" and "_target_" not in OmegaConf.load(CONF / slot / f"{ABSENT}.yaml"):
                assert config[slot] is None
            elif slot == "logger":
                with suppress(MissingExtraError):  # MLflow and Trackio are heavy, and not among what tests install
                    assert open_logger(OmegaConf.to_container(config[slot])) is not None  # type: ignore[arg-type]
            else:
                assert instantiate(config[slot]) is not None


@pytest.mark.parametrize("row", range(len(options("experiment"))), ids=options("experiment"))
def test_every_experiment_runs_every_pipeline(row: int, subtests: pytest.Subtests) -> None:
    """Check a third of all pairs: every experiment meets a third of the pipelines, and the reverse."""
    experiment = options("experiment")[row]
    for pipeline in options("pipeline")[-row % 3 :: 3]:
        with subtests.test(pipeline=pipeline):
            config = composed(f"+experiment={experiment}", f"pipeline={pipeline}")
            assert list(config.stages) == list(composed(f"pipeline={pipeline}").stages)


def test_what_a_pipeline_sets_holds(subtests: pytest.Subtests) -> None:
    """Nothing that is merged after a pipeline changes what it sets."""
    for pipeline in options("pipeline"):
        with subtests.test(pipeline=pipeline):
            own = OmegaConf.load(CONF / f"pipeline/{pipeline}.yaml")
            del own["defaults"]
            config = composed(f"pipeline={pipeline}")
            for key in own:
                if key != "stages":
                    assert OmegaConf.merge(config[key], own[key]) == config[key], key


_MARK = re.compile(r"mark of (\w+)")


def marked(config: DictConfig) -> tuple[DictConfig, set[str]]:
    """The configuration with a mark in every slot and at every setting of the root, and the names of these."""
    found, names = config.copy(), set()
    OmegaConf.set_struct(found, False)
    for name in {*map(str, config)} - {"hydra", "stages", "members", "teachers"}:
        if config._get_node(name)._is_none():  # type: ignore[union-attr]
            continue
        if OmegaConf.is_interpolation(config, name) or not isinstance(config[name], DictConfig):
            found[name] = f"mark of {name}"
        else:
            found[name].mark = f"mark of {name}"
        names.add(name)
    return found, names


def test_what_a_change_would_reach_is_read_and_nothing_else(subtests: pytest.Subtests) -> None:
    """A mark in a slot, or at a setting of the root, reaches a stage, the task or the report: else it is refused."""
    others = ("task=entities", "prune=wanda", "augmentation=neighbour_substitution", "quantize=smoothquant")
    for row in [*((f"pipeline={name}",) for name in options("pipeline")), others]:
        with subtests.test(row=row):
            config = unresolved(*row)
            changed, names = marked(config)
            plain = OmegaConf.to_container(resolved(changed))
            assert isinstance(plain, dict)
            reached = [plain[name] for name in ("task", "external", "report", "logger", "gate", "device")]
            for spec in planned(*row):
                stage = plain["stages"][re.sub(r"_\d+$", "", spec.name)]
                reached += [own for key, own in stage.items() if key != "ensemble" or len(spec.teachers) > 1]
            read = read_settings(config, [*left_out(config)])
            by_name = {
                "monitor",
                "seed",
                "store",
                "upload",
                "resplits",
                "nested",
                "allow",
                "margin",
                "margin_metric",
            }  # read at the root
            assert {name for name in names if is_read(name, read)} == {*_MARK.findall(str(reached))} | by_name


@pytest.mark.parametrize("sweep", options("sweep"))
def test_every_job_of_every_sweep_composes(sweep: str) -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        params = hydra.compose("config", [f"+sweep={sweep}"], return_hydra_config=True).hydra.sweeper.params
    assert params, "a sweep sweeps something"
    for override in OverridesParser.create().parse_overrides([f"{name}={value}" for name, value in params.items()]):
        assert override.is_sweep_override(), f"{override.input_line} is one value: it belongs beside `hydra`"
        for value in override.sweep_string_iterator():
            composed(f"+sweep={sweep}", f"{override.get_key_element()}={value}")


def test_stages_of_a_sweep_differ_only_where_the_sweep_says() -> None:
    """One pipeline's stage is another's: that is how a sweep shares a teacher."""
    a, b, c = (composed(f"pipeline={name}").stages for name in "abc")
    assert a.teacher == b.teacher == c.teacher and a.student == b.student
    assert b.prune_student == c.prune_student and b.recover_student == c.recover_student


def test_the_documents_list_the_stages_of_every_pipeline() -> None:
    """Each with the method of its last stage, which is `quantize`."""
    text = (CONF.parent / "docs/cli.md").read_text(encoding="utf-8").partition("## Pipelines")[2].partition("\n## ")[0]
    found = {}
    for line in re.findall(r"^\| (`.*) \| (.*) \| (.*) \|$", text, re.M):
        names, stages = re.findall(r"`(\w+)`", line[0]), [word.split()[0].rstrip(",") for word in line[1].split(" → ")]
        methods = line[2].split(", ") * (len(names) if ", " not in line[2] else 1)
        found |= {name: [*stages, "quantize", method] for name, method in zip(names, methods, strict=True)}
    actual = {}
    for name in options("pipeline"):
        config = composed(f"pipeline={name}")
        target = "none.none" if config.quantize is None else config.quantize._target_
        actual[name] = [*config.stages, target.split(".")[-2]]
    assert found == actual


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_stages_follow_their_slots(role: str) -> None:
    """A setting changed in a slot reaches the stages that point there."""
    config = composed(f"model@{role}=tiny", f"{role}.vocabulary=123", "seed=7", "prune.ratio=0.4", "recover.epochs=3")
    assert config.stages[role].start.vocabulary == 123
    assert {stage.seed for stage in config.stages.values()} == {7}
    assert config.stages.prune_student.callbacks.prune.ratio == 0.4
    assert config.stages.recover_student.callbacks.recover.epochs == 3


@pytest.mark.parametrize("group", METHODS)
def test_the_path_law(group: str) -> None:
    """`prune=wanda` is conf/prune/wanda.yaml, callbacks/prune/wanda.py and class Wanda."""
    stems = [stem for stem in options(group) if stem != ABSENT]
    names = {stem: "".join(word.capitalize() for word in stem.split("_")) for stem in stems}
    targets = {stem: OmegaConf.load(CONF / group / f"{stem}.yaml")._target_ for stem in stems}
    assert targets == {stem: f"callbacks.{group}.{stem}.{name}" for stem, name in names.items()}


@pytest.mark.parametrize("group", METHODS)
def test_every_method_has_a_yaml(group: str) -> None:
    methods = CONF.parent / "callbacks" / group
    if not methods.is_dir():
        pytest.skip(f"no callbacks/{group} yet")
    source = {path.stem: path.read_text(encoding="utf-8") for path in methods.glob("*.py")}
    assert {stem for stem, code in source.items() if "\n@final\nclass " in code} == {*options(group)} - {ABSENT}


def test_no_yaml_names_what_is_not_there() -> None:
    """Every option in a defaults list is a file. Hydra says so only when the option is used."""
    for path in FILES:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(loaded, dict)
        for line in loaded.get("defaults", []):
            for place in needed(path.parent.name, line):
                assert (CONF / place).is_file(), f"{path.parent.name}/{path.name} names {place}"


def needed(group: str, line: str | Mapping[str, str | Sequence[str] | None]) -> list[str]:
    """The files that one line of a defaults list in `group` asks for."""
    if isinstance(line, str):
        return [] if line == "_self_" else [f"{group}/{line}.yaml"]
    (name, option), *_ = line.items()
    place = name.removeprefix("override ").partition("@")[0].removeprefix("/")
    if option is None:  # a slot that may stay empty
        return []
    return [f"{place}/{one}.yaml" for one in ([option] if isinstance(option, str) else option)]
