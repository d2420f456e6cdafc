"""Checks that need neither torch nor the notes: a mistake is reported at once, not after the seconds of an import."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from clinlm.config.checks import check_margin, check_values
from clinlm.config.definitions import class_constant
from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.config.external import external_settings
from clinlm.config.placement import check_placement
from clinlm.config.ranges import check_choice
from clinlm.config.settings import plain
from clinlm.config.splits import refuse_opening
from clinlm.config.targets import instantiate
from clinlm.config.usage import left_out, used_settings
from clinlm.config.validation import refuse_monitor
from clinlm.store.key import PLACES
from clinlm.store.sources import named_targets

_LEAST = {
    "batch_size": 1,
    "accumulate": 1,
    "steps": 1,
    "epochs": 0,
    "student_epochs": 0,
    "general_epochs": 0,
    "patience": 0,
    "resplits": 1,
}
"""Whole numbers at the root of the configuration -> the smallest that works."""


def check_settings(config: DictConfig) -> None:
    """Check the settings of a pipeline, and that the files of its corpora and terminologies exist.

    Raises:
        ConfigError: an unknown or impossible setting.
        DataError: a file is missing, or a table lacks a column.
        MissingMandatoryValue: a required setting is missing.
    """
    from clinlm.metrics.classification import METRICS, ONE_VS_ONE
    from clinlm.metrics.entity_evaluation import METRICS as ENTITIES

    refuse_monitor(str(config.monitor), dict.fromkeys([*METRICS, ONE_VS_ONE, *ENTITIES]))
    check_values(config)
    check_placement(config)
    refuse_opening(config)
    check_margin(config.get("margin"))
    check_choice("margin_metric", config.get("margin_metric", METRICS[0]), [*dict.fromkeys([*METRICS, *ENTITIES])])
    for name, least in _LEAST.items():
        value = config.get(name, least)
        if value is not None and (type(value) is not int or value < least):
            raise ConfigError(f"{name} must be a whole number >= {least}, got {value}")
    for name, settings in (("task", plain(config.task)), ("external", external_settings(config))):
        if settings is None:
            continue
        _check_places(settings.get("labeler"), f"{name}.labeler")
        _check_places({place: settings["corpus"].get(place) for place in PLACES[1:]}, f"{name}.corpus")
        try:
            instantiate(settings["corpus"], root=settings["root"])().check()
        except DataError as error:
            raise type(error)(f"{name}: {error}") if name == "external" else error from None
    _check_task(config)


def record_used(config: DictConfig) -> None:
    """Leave only what the pipeline reads in the configuration that Hydra keeps in the folder of the run."""
    hydra = HydraConfig.get()
    if hydra.output_subdir is not None:
        OmegaConf.save(used_settings(config), Path(hydra.runtime.output_dir) / hydra.output_subdir / "config.yaml")


def _check_task(config: DictConfig) -> None:
    """Check that what the stages name works on such a task; else it is known after the stages before it were trained.

    A class says so itself: `of_documents` if it works on documents only, `one_row` if on notes of one row only,
    `of_patients` if on documents of patients only, which the texts of a transfer set are not.

    Raises:
        ConfigError: it does not.
    """
    absent, task = left_out(config), plain(config.task)
    stages = [plain(config.stages[name]) for name in config.stages or {} if str(name) not in absent]
    augmented = [stage for stage in stages if stage.get("augmentation") is not None]
    for target in named_targets(augmented):
        if class_constant(target, "of_patients"):
            choice = "=".join(_typed(target))
            raise ConfigError(
                f"{choice} weighs subgroups of patients, and the texts of a transfer set have none; remove the "
                "stage's `augmentation`, or choose another"
            )
    by_word = class_constant(str(task["_target_"]), "kind") == "entities"
    for target in dict.fromkeys(named_targets(stages)):
        if by_word and class_constant(target, "of_documents"):
            group, choice = _typed(target)
            raise ConfigError(
                f"{group}={choice} works on documents, got a task on words; choose another (clinlm list {group})"
            )
        if class_constant(target, "one_row"):
            from clinlm.text.long_notes import require_one_row  # here: it imports numpy

            require_one_row("=".join(_typed(target)), instantiate(task["long_notes"]))


def _typed(target: str) -> tuple[str, str]:
    """Return the group and the name by which a class is chosen: those of its folder and file."""
    folder, choice = target.split(".")[-3:-1]
    return {"initializers": "model"}.get(folder, folder), choice


def _check_places(settings: Any, path: str) -> None:
    """Check that every folder that settings name exists, at any depth."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if name in PLACES and value is not None and not Path(value).exists():
            raise MissingFileError(
                f"{path}.{name} must exist, got {value}; set it to the file, or the folder of the files"
            )
        _check_places(value, f"{path}.{name}")
