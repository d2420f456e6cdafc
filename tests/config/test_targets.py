"""A `_target_` runs what it names: only classes of clinlm, of few libraries, and of packages that the user allows."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from clinlm.config import targets
from clinlm.config.errors import ConfigError
from clinlm.config.settings import compose
from clinlm.config.targets import (
    allow_targets,
    allowed_packages,
    check_configuration,
    check_target,
    find_target,
    instantiate,
    typed_packages,
)
from clinlm.config.validation import CONF

DANGEROUS = """
torch.load joblib.load torch.hub.load torch.jit.load torch.package.PackageImporter torch.utils.cpp_extension.load
pathlib.Path.unlink pathlib.Path os.system os.remove os.popen shutil.rmtree subprocess.run subprocess.Popen
builtins.eval builtins.exec builtins.open setuptools._distutils.spawn.spawn hydra.utils.get_method hydra.utils.call
importlib.import_module runpy.run_path pickle.load pickle.loads numpy.load pandas.read_pickle webbrowser.open
urllib.request.urlretrieve ctypes.CDLL socket.create_connection transformers.pipeline
transformers.AutoModel.from_pretrained lightning.pytorch.callbacks.timer.time clinlm.store.content.os.system
clinlm.store.content.shutil.rmtree clinlm.store.unused.discard_unused clinlm.cli.main.main
callbacks.checkpoint.Path.unlink clinlm.config.targets.instantiate torch.nn.modules.torch.load
torch.optim.torch.load optuna.samplers.TPESampler.sample hydra_plugins.clinlm.subprocess.Popen
hydra._internal.core_plugins.basic_launcher.Path
""".split()
"""What runs, opens, loads, fetches or removes; some by way of a module of ours that imports it, or of a library's."""
HARMLESS = [
    target for target in re.findall(r"_target_: *([\w.]+)", "".join(p.read_text() for p in CONF.rglob("*.yaml")))
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test allows a package for the next one."""
    monkeypatch.setattr(targets, "_trusted", set(targets._trusted))


def nested(target: str) -> list[Any]:
    """The places in settings where a target can stand."""
    own = {"_target_": target, "_args_": ["x"], "_partial_": True}
    report = {"_target_": "clinlm.report.settings.ReportSettings", "machine": own}
    return [own, {"a": own}, [own], {"a": [{"b": own}]}, report, OmegaConf.create({"a": "${b}", "b": own})]


@pytest.mark.parametrize("target", DANGEROUS)
def test_a_dangerous_target_is_refused_wherever_it_stands(target: str) -> None:
    for settings in nested(target):
        with pytest.raises(ConfigError, match=rf"_target_ must .*{re.escape(target)}.*nothing was run"):
            instantiate(settings)
    with pytest.raises(ConfigError, match="_target_ must"):
        find_target(target)


@pytest.mark.parametrize("target", DANGEROUS)
def test_a_dangerous_target_ends_the_composition(target: str) -> None:
    for settings in ({"report": {"_target_": target}}, {"hydra": {"callbacks": {"x": {"_target_": target}}}}):
        with pytest.raises(ConfigError, match=rf"_target_ must .*{re.escape(target)}.*nothing was run"):
            check_configuration(OmegaConf.create(settings), [])


def test_composition_checks_overrides_yamls_and_what_hydra_itself_makes(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "theirs.yaml").write_text("# @package _global_\nreport: {_target_: os.system}\n")
    for overrides in (
        ["report._target_=os.system"],
        ["+hydra.callbacks.x._target_=os.system"],
        [f"hydra.searchpath=[file://{tmp_path}]", "+experiment=theirs"],
        ["hydra.callbacks.live._target_=${oc.env:HOME}"],
    ):
        with pytest.raises(ConfigError, match="_target_ must .*nothing was run"):
            compose("config", overrides)


@pytest.mark.parametrize("place", ["callbacks: {zz: '${patience}'}", "job_logging: {handlers: '${patience}'}"])
def test_what_hydra_calls_is_written_out(place: str, tmp_path: Path) -> None:
    """What it borrows from elsewhere in the settings would be called without a check."""
    (tmp_path / "experiment").mkdir()
    borrowed = f"# @package _global_\nseed: posix.getpid\npatience: {{_target_: '${{seed}}'}}\nhydra: {{{place}}}\n"
    (tmp_path / "experiment" / "theirs.yaml").write_text(borrowed)
    with pytest.raises(ConfigError, match="must be written out"):
        compose("config", [f"hydra.searchpath=[file://{tmp_path}]", "+experiment=theirs"])


def test_every_target_of_the_configuration_may_be_used() -> None:
    assert len(HARMLESS) > 100
    for target in dict.fromkeys(HARMLESS):
        check_target(target, "hydra.sweeper")


PACKAGE = """
import os
from subprocess import run
class Own:
    made = 0
    def __init__(self):
        Own.made += 1
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a package of a user."""
    (tmp_path / "zz_lab").mkdir()
    (tmp_path / "zz_lab" / "part.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "zz_lab", raising=False)
    return "zz_lab"


def test_a_package_of_the_user_is_used_once_it_is_allowed_and_not_what_it_imports(lab: str) -> None:
    settings = {"_target_": f"{lab}.part.Own"}
    with pytest.raises(ConfigError, match=rf"add allow=\[{lab}\.\] to the command"):
        instantiate(settings)
    assert lab not in sys.modules
    allow_targets([f"{lab}."])
    assert type(instantiate(settings)).made == 1
    for name in ("os.system", "run"):
        with pytest.raises(ConfigError, match="is from elsewhere"):
            instantiate({"_target_": f"{lab}.part.{name}"})
    with pytest.raises(ConfigError, match="_target_ must"):
        check_target(f"{lab}2.part.Own")


def test_only_the_command_line_allows(lab: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    yaml = f"# @package _global_\nallow: [{lab}.]\nreport: {{_target_: {lab}.part.Own}}\n"
    (tmp_path / "experiment" / "theirs.yaml").write_text(yaml)
    theirs = [f"hydra.searchpath=[file://{tmp_path}]", "+experiment=theirs"]
    with pytest.raises(ConfigError, match="allow must be set on the command line, and nowhere else"):
        compose("config", theirs)
    assert lab not in sys.modules
    assert compose("config", [*theirs, f"allow=[{lab}.]"]).report._target_ == f"{lab}.part.Own"


@pytest.mark.parametrize("typed", ["allow=[zz_lab.]", "allow=zz_lab.", "allow=['zz_lab.']"])
def test_allow_is_read_as_it_is_typed(typed: str) -> None:
    assert allowed_packages(compose("config", [typed])) == typed_packages([typed]) == ["zz_lab."]


@pytest.mark.parametrize("name", ["", "*", "a b", "../x", ".a", "a..b", "os.", "builtins", "subprocess.run"])
def test_a_package_is_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="allow must list packages"):
        allow_targets([name])


@pytest.mark.parametrize(
    "handler",
    [{"class": "subprocess.Popen"}, {"()": "os.system"}, {"class": "logging.StreamHandler", "stream": "ext://os.x"}],
)
def test_a_handler_of_logs_runs_nothing_either(handler: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must use handlers of Python's logging"):
        check_configuration(OmegaConf.create({"hydra": {"job_logging": {"handlers": {"x": handler}}}}), [])


def test_a_class_by_its_module_is_told_its_name() -> None:
    with pytest.raises(ConfigError, match=r"write lightning\.pytorch\.callbacks\.EarlyStopping"):
        check_target("lightning.pytorch.callbacks.early_stopping.EarlyStopping")
    check_target("lightning.pytorch.callbacks.EarlyStopping")
