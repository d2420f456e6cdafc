"""Folders of runs that never began are removed, and no others."""

from pathlib import Path

import pytest

from clinlm.store.unused import discard_unused


def begun(folder: Path) -> Path:
    """Make the folder of a run as Hydra does before anything runs."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text("seed: 0\n", encoding="utf-8")
    (folder / "clinlm.log").touch()
    return folder


def test_a_run_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    assert discard_unused(begun(tmp_path / "outputs/runs/one"))
    assert not list(tmp_path.iterdir())
    sweep = tmp_path / "outputs/sweeps/one"
    begun(sweep / "0")
    (sweep / "multirun.yaml").write_text("seed: 0\n", encoding="utf-8")
    assert discard_unused(sweep) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["run.json", "clinlm.log", "0/clinlm.log"])
def test_a_folder_with_a_line_of_anything_stays(name: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "here")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}", encoding="utf-8")
    assert not discard_unused(folder) and (folder / name).exists()


def test_folders_of_the_user_stay(tmp_path: Path) -> None:
    assert discard_unused(begun(tmp_path / "mine/one")) and (tmp_path / "mine").is_dir()
    begun(tmp_path / "outputs/runs/one")
    begun(tmp_path / "outputs/runs/two")
    assert discard_unused(tmp_path / "outputs/runs/one") and (tmp_path / "outputs/runs/two").is_dir()
