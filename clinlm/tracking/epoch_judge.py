"""Whether a run is worth going on, decided after each epoch of one of its stages."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from clinlm.config.errors import ClinlmError, ConfigError


class TrialPruned(ClinlmError, RuntimeError):
    """A trial of a study was stopped before its end, because others were better: no failure."""


class EpochJudge(ABC):
    """Judges the epochs of one stage. Subclasses are final.

    Args:
        stage: its name; None for the last stage that trains.
    """

    def __init__(self, stage: str | None) -> None:
        self.stage = stage

    def choose(self, planned: Sequence[tuple[str, int]]) -> None:
        """Choose the stage that is judged.

        Args:
            planned: names and epochs of all stages, in order.

        Raises:
            ConfigError: the stage is none of those that train.
        """
        trained = [name for name, epochs in planned if epochs]
        if not trained or self.stage not in (None, *trained):
            raise ConfigError(
                f"a pruner judges the epochs of a stage that trains, got {self.stage or 'none'}; stages that train: "
                f"{', '.join(trained) or 'none'}; set hydra.sweeper.pruner_stage, or hydra.sweeper.pruner=null"
            )
        self.stage = self.stage or trained[-1]

    @abstractmethod
    def judge(self, epoch: int, value: float) -> None:
        """Judge an epoch of the stage.

        Args:
            epoch: counted from 1.
            value: of the monitored metric on validation.

        Raises:
            TrialPruned: the run is to end here.
        """
