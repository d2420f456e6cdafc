"""What a user installs: the wheel holds the configuration and the methods, and runs without the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place), str(wheel)]
    subprocess.run([sys.executable, *install], check=True, timeout=300)
    # PYTHONPATH stands before a checkout that is installed in editable mode.
    code = "import runpy; from clinlm.__main__ import CONF; print(CONF); runpy.run_module('clinlm', None, '__main__')"
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
