"""Shell completion: what may follow a command line, and that it agrees with what Hydra composes."""

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from clinlm.cli.completion import SHELLS, complete_line, completion_lines
from clinlm.cli.main import COMMANDS
from clinlm.cli.options import ConfigOptions
from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF


def choices(line: str) -> list[str]:
    """Return what is suggested after a command line."""
    return complete_line(line, COMMANDS)


def keys(settings: object, path: str = "") -> set[str]:
    """Return the dotted names of all settings at any depth, without `_target_` and the like."""
    if not isinstance(settings, dict):
        return set()
    kept = {str(key): value for key, value in settings.items() if not str(key).startswith("_") and key != "hydra"}
    return {f"{path}{key}" for key in kept}.union(*(keys(value, f"{path}{key}.") for key, value in kept.items()))


def test_groups_are_the_folders_of_the_configuration() -> None:
    assert ConfigOptions().groups() == sorted(
        {path.parent.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml") if path.parent != CONF}
    )


@pytest.mark.parametrize(
    "chosen",
    [
        {"pipeline": "c"},
        {"pipeline": "edge", "task": "table", "model@teacher": "tiny", "logger": "wandb"},
        {"pipeline": "optimclm", "task": "mtsamples", "prune": "wanda", "device": "laptop"},
    ],
)
def test_settings_are_those_that_hydra_composes(chosen: dict[str, str]) -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("config", [f"{slot}={name}" for slot, name in chosen.items()])
    assert keys(ConfigOptions().settings("config", chosen)) == keys(OmegaConf.to_container(composed, resolve=False))


def test_names_of_commands_are_completed_with_groups_and_settings() -> None:
    found = choices("clinlm pr")
    assert {"predict", "prune=", "prune.", "precision="} <= {*found} and "label" not in found
    assert {*COMMANDS} <= {*choices("clinlm ")} and not {*COMMANDS} & {*choices("clinlm seed=1 ")}


def test_every_option_of_every_group_is_offered() -> None:
    for slot, (group, _) in ConfigOptions().slots().items():
        if not slot.endswith("_adapter"):
            names = [path.stem for path in sorted((CONF / group).glob("*.yaml"))]
            assert choices(f"clinlm seed=1 {slot}=") == sorted(f"{slot}={name}" for name in names)
    assert "+experiment=mtsamples" in choices("clinlm +experiment=mt") and choices("clinlm +swe") == ["+sweep="]
    assert "adapter@teacher=lora" in choices("clinlm adapter@teacher=l")
    assert {"hydra/sweeper=optuna", "hydra/sweeper=product"} == {*choices("clinlm hydra/sweeper=")}


def test_of_a_sweep_the_options_that_are_not_yet_listed_are_offered() -> None:
    assert choices("clinlm -m pipeline=a,b,a") == []
    assert choices("clinlm -m pipeline=a,dist") == ["pipeline=a,distillation", "pipeline=a,distillation_qat"]


def test_settings_are_completed_by_level_and_follow_what_was_typed_before() -> None:
    assert choices("clinlm prune=wanda prune.r") == ["prune.ratio="]
    assert choices("clinlm pipeline=baseline stages.t") == ["stages.teacher."]
    assert choices("clinlm pipeline=baseline ~stages.te") == ["~stages.teacher", "~stages.teacher."]
    assert choices("clinlm nested=") == ["nested=false", "nested=true"]


def test_settings_of_predict_are_completed(tmp_path: Path) -> None:
    keys = ["address=", "artifact=", "batch_tokens=", "coverage=", "encoding=", "id=", "input=", "on=", "output="]
    assert choices("clinlm predict ") == [*keys, "rejects=", "shadow=", "text=", "threads=", "window="]
    assert choices("clinlm predict input=a,b.csv ar") == ["artifact="]
    (tmp_path / "teacher-1").mkdir()
    (tmp_path / "notes.csv").touch()
    assert choices(f"clinlm predict artifact={tmp_path}/te") == [f"artifact={tmp_path}/teacher-1/"]
    assert choices(f"clinlm task.root={tmp_path}/n") == [f"task.root={tmp_path}/notes.csv"]


def test_settings_and_groups_of_the_other_commands_are_completed() -> None:
    assert {"corpus=", "input=", "labeler.", "labeler=", "span_texts="} <= {*choices("clinlm label ")}
    assert choices("clinlm label pru") == []
    assert choices("clinlm label input=x.csv labeler=ma") == ["labeler=majority"]
    assert "labeler.use=" in choices("clinlm label labeler=majority labeler.u")
    assert choices("clinlm documents ") == ["output=", "store=", "task.", "task="]
    assert choices("clinlm documents output=x task=morta") == ["task=mortality"]
    assert "task.corpus." in choices("clinlm documents output=x task=mortality task.c")
    assert choices("clinlm list pru") == ["prune"] and choices("clinlm report html sw") == ["sweep="]


def test_what_a_store_is_asked_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs/store/teacher-aaaa00000001").mkdir(parents=True)
    (tmp_path / "file.tar").touch()
    assert choices("clinlm store ") == ["export", "gc", "import", "ls", "verify"]
    assert choices("clinlm store gc ") == ["confirm=", "days=", "runs=", "staging=", "store="]
    assert choices("clinlm store gc confirm=") == ["confirm=false", "confirm=true"]
    assert choices("clinlm store export t") == ["teacher-aaaa00000001"]
    assert choices("clinlm store import f") == ["file.tar"] and choices("clinlm store import s") == ["store="]


def test_options_of_a_folder_of_ones_own_are_completed(tmp_path: Path) -> None:
    (tmp_path / "prune").mkdir()
    (tmp_path / "prune/first_units.yaml").write_text("_target_: lab.FirstUnits\nshare: 0.1\n", encoding="utf-8")
    assert choices(f"clinlm --config-dir {tmp_path} prune=fi") == ["prune=filters", "prune=first_units"]
    assert choices(f"clinlm --config-dir={tmp_path} prune=first_units prune.s") == ["prune.share="]


def test_bash_gets_what_follows_its_last_word_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "clinlm model@teacher=mini")
    assert completion_lines(["query", "bash"], COMMANDS) == ["minilm", "minilm_student"]
    assert completion_lines(["query", "zsh"], COMMANDS) == ["model@teacher=minilm", "model@teacher=minilm_student"]
    assert [completion_lines([shell], COMMANDS) for shell in SHELLS] == [[script] for script in SHELLS.values()]
