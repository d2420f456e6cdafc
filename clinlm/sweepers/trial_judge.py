"""Optuna's pruner in a job of a study: tells it each epoch of one stage, and ends the job where it says so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import OmegaConf

from clinlm.config.extras import imported
from clinlm.config.targets import instantiate
from clinlm.sweepers.study_storage import open_storage
from clinlm.tracking.epoch_judge import EpochJudge, TrialPruned


def make_pruner(settings: str | Mapping[str, Any]) -> Any:
    """Return one of Optuna's pruners, from its name (MedianPruner) or the settings of a `_target_`."""
    own = {"_target_": f"optuna.pruners.{settings}"} if isinstance(settings, str) else dict(settings)
    imported("optuna", "optuna")
    return instantiate(own)


def trial_judge(hydra: HydraConf) -> EpochJudge | None:
    """Return the judge of this job, if it is a trial of a study that prunes; its number is that of the trial."""
    sweeper: Any = OmegaConf.select(hydra, "sweeper") or {}  # type: ignore[arg-type]
    if hydra.mode != RunMode.MULTIRUN or sweeper.get("pruner") is None or sweeper.get("study_name") is None:
        return None
    names = ("folder", "storage", "study_name", "pruner", "pruner_stage")
    return TrialJudge({name: _plain(sweeper.get(name)) for name in names}, int(hydra.job.num))


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


@final
class TrialJudge(EpochJudge):
    """Stores every epoch in the study, and asks the pruner.

    Args:
        sweeper: settings of `clinlm.sweepers.optuna.Optuna`, with the name of the study.
        number: of the trial.
    """

    def __init__(self, sweeper: Mapping[str, Any], number: int) -> None:
        super().__init__(sweeper["pruner_stage"])
        self._number = number
        self._storage = open_storage(Path(sweeper["folder"]), sweeper["study_name"], sweeper["storage"])
        self._study = imported("optuna", "optuna").load_study(
            study_name=sweeper["study_name"], storage=self._storage, pruner=make_pruner(sweeper["pruner"])
        )
        study_id = self._storage.get_study_id_from_name(sweeper["study_name"])
        self._trial = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def judge(self, epoch: int, value: float) -> None:
        """See `EpochJudge.judge`."""
        self._storage.set_trial_intermediate_value(self._trial, epoch, value)
        if self._study.pruner.prune(self._study, self._storage.get_trial(self._trial)):
            raise TrialPruned(
                f"trial {self._number} was pruned after epoch {epoch} of stage {self.stage}, at {value:.4f}"
            )
