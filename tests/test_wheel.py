"""What a user installs: the wheel holds the configuration and the methods, and runs without the checkout."""

import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "callbacks").rglob("*.py")}
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


def test_every_package_is_pinned() -> None:
    """constraints.txt names one version of everything that pyproject.toml asks for, and that those ask for in turn."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, (line for line in lines if line[0] != "#"))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = project["project"]["optional-dependencies"]
    extras = [names for extra, names in optional.items() if extra != "ray"]  # which `make` does not install
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
