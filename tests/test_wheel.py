"""What a user installs: the wheel holds the configuration and the methods, and runs without the checkout."""

import email
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.commands import SMALL

import clinlm

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the installed hatchling: nothing is fetched."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_code_and_configuration_and_nothing_else(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in inside if ".dist-info/" not in name}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "clinlm").rglob("*.*")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "callbacks").rglob("*.*")}
    expected |= {f"clinlm/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert packed == {name for name in expected if "__pycache__" not in name}
    assert {"clinlm/conf/config.yaml", "callbacks/prune/smart_griffin.py"} <= packed


def test_it_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(place)  # as pip does with a wheel of Python files
    # PYTHONPATH stands before a checkout that is installed in editable mode.
    code = "import runpy; from clinlm.config.validation import CONF; print(CONF); "
    code += "runpy.run_module('clinlm', None, '__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, "--cfg", "job", "pipeline=b"],
        cwd=elsewhere,
        env={"PYTHONPATH": str(place), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    where, _, printed = done.stdout.partition("\n")
    assert Path(where) == place / "clinlm" / "conf"
    assert "recover_student:" in printed and "callbacks.prune.smart_griffin.SmartGriffin" in printed


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder whose own `callbacks` ends every process that imports it, and whose `conf` is no configuration."""
    folder = tmp_path / "work"
    for name in ("callbacks", "conf", "tests"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('imported {name} of the current folder')\n")
    (folder / "conf" / "config.yaml").write_text("pipeline: not ours\n")
    return folder


def test_methods_are_those_beside_clinlm_whatever_the_folder_holds(wheel: Path, tmp_path: Path, crowded: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    site = str(tmp_path / "site")
    prefer = "from clinlm.config.methods_path import prefer_own_methods as prefer; prefer()"

    def run(code: str, path: str = site) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", f"{code}; import callbacks; print(callbacks.__file__)"]
        return subprocess.run(
            command, cwd=crowded, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=300
        )

    for path in (site, os.pathsep.join([str(crowded), site])):
        assert run(f"{prefer}; prefer()", path).stdout.strip() == f"{site}/callbacks/__init__.py"
    assert "imported callbacks of the current folder" in run("pass").stderr, "the test would show it"
    (crowded / "callbacks" / "__init__.py").write_text("")
    late = run(f"import callbacks; {prefer}").stderr
    assert "ConfigError" in late and str(crowded) in late and "rename" in late


METHOD = '''"""A method of the reader's own."""

from callbacks.prune.ffn import FfnPruning
from clinlm.models import structure


class LastUnits(FfnPruning):
    """Keep the last FFN units of every layer.

    Source    none; a control.
    Changes   FFN widths, layer by layer.
    Cost      none.
    """

    def __init__(self, ratio=0.25):
        super().__init__(ratio, skip_std=0.0)

    def scores(self, module):
        import torch

        return [torch.arange(float(layer.up.out_features)) for layer in structure.layers(module.network.body)]
'''


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment into which pip has installed the wheel; what it needs is found here."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False)
    (site,) = place.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True, timeout=300)
    packages = Path(pytest.__file__).parents[1]
    (site / "lent.pth").write_text(f"{packages}\n")  # after clinlm itself: an editable clinlm there is not taken
    return place / "bin"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "place"), [(["clinlm"], "empty"), (["python", "-m", "clinlm"], "crowded")], ids=["empty", "crowded"]
)
def test_an_installed_wheel_runs_anywhere_with_a_method_of_the_readers_own(
    command: list[str], place: str, installed: Path, crowded: Path, notes_csv: Path, tmp_path: Path
) -> None:
    """Prune by a method that `--config-dir` adds, from folders that have nothing, and too much."""
    lab = tmp_path / "elsewhere" / "lab"
    (lab / "conf" / "prune").mkdir(parents=True)
    (lab / "last_units.py").write_text(METHOD)
    (lab / "conf" / "prune" / "last_units.yaml").write_text("_target_: lab.last_units.LastUnits\n")
    (tmp_path / "empty").mkdir()
    words = [str(installed / command[0]), *command[1:], "--config-dir", str(lab / "conf"), "allow=[lab.]", *SMALL]
    words += ["pipeline=pruning", "prune=last_units", "~stages.recover", f"task.root={notes_csv}"]
    done = subprocess.run(
        words,
        cwd=crowded if place == "crowded" else tmp_path / place,
        env={"PYTHONPATH": str(lab.parent), "PATH": os.environ["PATH"], "CI": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^prune.*\d", done.stdout, re.M), done.stdout


def test_every_package_is_pinned() -> None:
    """constraints.txt names one version of everything that pyproject.toml asks for, and that those ask for in turn."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, (line for line in lines if line[0] != "#"))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = project["project"]["optional-dependencies"]
    # `make test` installs none of them.
    left = ("ray", "spark", "s3", "mlflow", "trackio", "docs", "notebooks", "duckdb", "postgres")
    extras = [names for extra, names in optional.items() if extra not in left]
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"], *chain.from_iterable(extras)]
    asked = [one for one in asked if not one.startswith("clinlm[")]
    reached = closure([Requirement(one) for one in asked])
    for wanted in reached:
        pin = pins.get(canonicalize_name(wanted.name))
        if pin is None:  # torch's build for a GPU names its libraries by exact versions
            assert str(wanted.specifier).startswith("=="), f"nothing pins {wanted}"
        else:
            assert wanted.specifier.contains(str(pin.specifier).removeprefix("=="), prereleases=True), (
                f"{wanted}, {pin}"
            )
    names = {canonicalize_name(wanted.name) for wanted in reached}
    assert set(pins) - names == {"editables"}, (
        "pinned, but nothing asks for it (hatchling does, for an editable install)"
    )


def test_the_site_and_the_notebooks_are_pinned_by_a_file_of_their_own() -> None:
    """What they ask for has a pin in either file, and no package has two."""
    files = (ROOT / "constraints.txt", ROOT / "docs" / "site" / "constraints.txt")
    lines = [file.read_text(encoding="utf-8").splitlines() for file in files]
    both = [[Requirement(line) for line in some if line[0] != "#"] for some in lines]
    pins = {canonicalize_name(pin.name): pin.specifier for some in both for pin in some}
    assert len(pins) == sum(map(len, both))
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for wanted in map(Requirement, [*optional["docs"], *optional["notebooks"]]):
        pin = str(pins[canonicalize_name(wanted.name)])
        assert wanted.specifier.contains(pin.removeprefix("=="))


def test_the_metadata_says_what_the_project_is(wheel: Path) -> None:
    (path,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA")]
    said = email.message_from_bytes(zipfile.ZipFile(wheel).read(path))
    assert said["Version"] == clinlm.__version__ and said["Author"] and said["License-Expression"] == "MIT"
    assert said["Keywords"] and said.get_payload(), "the README is the description"
    versions = {line.rpartition(" ")[2] for line in said.get_all("Classifier", []) if ":: 3." in line}
    assert {"3.11", "3.12", "3.13", "3.14"} == versions
    assert "Classifier: Typing :: Typed" in str(said), "and the wheel has py.typed"


def closure(asked: list[Requirement]) -> list[Requirement]:
    """Return `asked` and everything that the installed ones among them ask for in turn."""
    waiting, seen, reached = asked, set(), []
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), *sorted(wanted.extras))
        reached.append(wanted)
        if key not in seen:
            seen.add(key)
            try:
                needs = [Requirement(one) for one in metadata.requires(wanted.name) or []]
            except metadata.PackageNotFoundError:
                continue  # an extra that is not installed here
            marked = {"", *wanted.extras}
            waiting += [n for n in needs if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in marked)]
    return reached
