"""A sampler of Optuna that draws trial by trial, whatever process asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from clinlm.config.targets import instantiate
from clinlm.store.key import digest

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState

    from clinlm.sweepers.shared_study import SharedStudy


@final
class SeededSampler:
    """Draws each trial by a sampler of its own, seeded by the number of trials before it that count.

    So two processes never draw the same trial, and a sweep that was killed draws what it would have drawn. It has the
    methods of `optuna.samplers.BaseSampler`, which is imported only where a study is.

    Args:
        settings: of the sampler; its `seed` may be None.
        shared: the study.
    """

    def __init__(self, settings: Mapping[str, Any], shared: SharedStudy) -> None:
        self._settings, self._shared = settings, shared
        self._made: dict[int, BaseSampler] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Optuna's hook."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Optuna's hook."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Optuna's hook."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Optuna's hook."""
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Optuna's hook."""
        self._of(trial).after_trial(study, trial, state, values)
        self._made.pop(trial.number, None)

    def reseed_rng(self) -> None:
        """Optuna's hook: seeds are of trials."""

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self._made:
            settings = dict(self._settings)
            if settings.get("seed") is not None:
                before = sum(other.number < trial.number for other in self._shared.trials())
                settings["seed"] = int(digest([settings["seed"], before])[:8], 16)
            self._made[trial.number] = instantiate(settings)
        return self._made[trial.number]
