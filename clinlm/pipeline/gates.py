"""Gates: limits on what a compressed model may lose against its original, and on how it may be compressed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

from omegaconf import DictConfig

from clinlm.config.errors import ConfigError
from clinlm.config.settings import plain
from clinlm.config.targets import instantiate
from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.classification import METRICS
from clinlm.models.artifact import Artifact
from clinlm.pipeline.degradation import Degradation, Floor, bootstrap, measure_degradation
from clinlm.tasks.base import Task

TECHNIQUES: Mapping[str, str] = {
    "quantization_aware_training": "pipeline=quantization_qat",
    "iterative_pruning": "pipeline=pruning_iterative",
    "distillation": "pipeline=distillation",
    "int4": "pipeline=quantization quantize=int4",
    "post_training_quantization": "pipeline=quantization_static",
    "pruning": "pipeline=pruning",
    "factorization": "pipeline=low_rank_svd",
}
"""Technique -> what a user types for it: a whole pipeline that does nothing else."""

Judge = Literal["interval", "point"]
TFIDF_FLOOR: Final = "tfidf"


def spell_out(technique: str) -> str:
    """Return a technique in words."""
    return technique.replace("post_", "post-").replace("_aware", "-aware").replace("_", " ")


@final
@dataclass(frozen=True)
class Finding:
    """One limit, and what was measured.

    Attributes:
        quantity: "loss of macro_auroc", "agreement", "gap by gender", "floor (macro_f1 of the better TF-IDF)".
        change: its measured value; of a floor, by how much the model is above it.
        limit: a share of 1.
        bound: what is compared with the limit: an end of the interval, or the value itself.
        passed: whether it is within the limit; False where it is undefined.
        at_least: whether it must be at least the limit, and not below it.
    """

    quantity: str
    change: Interval
    limit: float
    bound: float
    passed: bool
    at_least: bool = False

    @property
    def excess(self) -> float:
        """How far the bound is beyond the limit, as a share of 1; negative within the limit; NaN if undefined."""
        return self.limit - self.bound if self.at_least else self.bound - self.limit

    def line(self) -> str:
        """Return the measured value, in points (hundredths), and by how much it passes or fails."""
        if math.isnan(self.bound):
            return f"{self.quantity}: undefined on this split; cannot show that it is within {100 * self.limit:.2f}"
        value, low, high = (f"{100 * number:z.2f}" for number in (self.change.value, self.change.low, self.change.high))
        by = f"{100 * abs(self.excess):.2f} {'to spare' if self.passed else self._missed}"
        return f"{self.quantity} {value} ({low} to {high}), limit {100 * self.limit:.2f}: {by}"

    def reason(self) -> str:
        """Return which limit failed, and by how much, in points."""
        if math.isnan(self.bound):
            return f"{self.quantity} undefined"
        return f"{self.quantity} {100 * self.excess:.2f} {self._missed}"

    @property
    def _missed(self) -> str:
        return "too little" if self.at_least else "too much"


@final
@dataclass(frozen=True)
class Verdict:
    """The result of a gate for one model.

    Attributes:
        subject: the name of the stage, or of the row.
        refused: techniques that the gate does not allow.
        findings: one per limit, failed ones first.
        notices: what could not be measured, and why.
    """

    gate: str
    subject: str
    refused: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every limit is kept and every technique is allowed."""
        return not self.refused and all(finding.passed for finding in self.findings)

    def line(self) -> str:
        """Return the verdict in one line; numbers are points, intervals in brackets."""
        reasons = [f"not allowed: {spell_out(technique)}" for technique in self.refused]
        reasons += [finding.line() for finding in self.findings]
        result = f"gate {self.gate}, {self.subject}: {'passed' if self.passed else 'FAILED'}: {'; '.join(reasons)}"
        return "; ".join([result, *self.notices])

    def reasons(self) -> str:
        """Return why it failed, in few words; "" if it passed."""
        failed = [finding.reason() for finding in self.findings if not finding.passed]
        return "; ".join([*(f"{spell_out(technique)} not allowed" for technique in self.refused), *failed])


@final
@dataclass(frozen=True)
class Gate:
    """Limits on what a model may lose against its original. All are shares of 1, or differences of shares.

    Judging by `interval` is a test of non-inferiority: the pessimistic end of the 95 % interval must be within the
    limit, so that few documents prove little. Judging by `point`, as the paper on clinical edge deployment does, the
    value itself must be.

    Attributes:
        metrics: metric of `clinlm.metrics.classification` -> its loss must be below this.
        agreement: least share of equal decisions; None for no limit.
        fairness: the gap between subgroups must grow by less than this, for every attribute of the corpus; None for no
            limit. See `clinlm.pipeline.degradation`.
        coverage: how far the least measured coverage of the compressed model's prediction sets at 90 % (of true labels,
            of notes with a label, of notes without it) may lie below nominal; None for no limit. On validation, whose
            documents calibrated the sets, either half of the groups is judged by thresholds of the other half.
        set_size: the mean size of its sets must grow by less than this share of the original's; None for no limit.
        floor: least `floor_metric` of any model, the one before compression too: a share of 1; `tfidf` for the
            better row of TF-IDF on the same documents; None for no floor. The value itself is compared, by either
            judge: a limit on losses says nothing about a model that has nothing to lose.
        floor_metric: see `floor`.
        techniques: the keys of `TECHNIQUES` that are allowed.
        judge: `interval` or `point`.
        split: whose documents decide between stages. A pipeline that stops or continues has chosen by them; test
            documents are for the report.
        resamples: of the bootstrap.
        by_group: draw whole groups (patients): notes of one patient are not independent.
        smallest_subgroup: documents that a subgroup needs for its gap to be measured.

    Raises:
        ConfigError: a setting is out of its range.
    """

    name: str
    metrics: Mapping[str, float]
    agreement: float | None = None
    fairness: float | None = None
    coverage: float | None = None
    set_size: float | None = None
    floor: float | str | None = None
    floor_metric: str = "macro_f1"
    techniques: Sequence[str] = field(default_factory=lambda: tuple(TECHNIQUES))
    judge: Judge = "interval"
    split: Literal["validation", "test"] = "validation"
    resamples: int = 1000
    by_group: bool = True
    smallest_subgroup: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.floor, str) and self.floor != TFIDF_FLOOR:
            raise ConfigError(f"gate.floor must be a share in [0, 1], tfidf, or null for none, got {self.floor!r}")
        floor = None if isinstance(self.floor, str) else self.floor
        shares = {**self.metrics, "agreement": self.agreement, "fairness": self.fairness, "floor": floor}
        shares["coverage"] = self.coverage
        wrong = {name: value for name, value in shares.items() if value is not None and not 0 <= value <= 1}
        if wrong:
            raise ConfigError(f"the limits of a gate must be shares in [0, 1] (0.02 is two points), got {wrong}")
        if self.set_size is not None and self.set_size < 0:
            raise ConfigError(f"gate.set_size must be >= 0 (0.1 is a tenth larger), or null, got {self.set_size}")
        for setting, given, known in (
            ("metrics", self.metrics, METRICS),
            ("floor_metric", [self.floor_metric], METRICS),
            ("techniques", self.techniques, TECHNIQUES),
            ("judge", [self.judge], ("interval", "point")),
            ("split", [self.split], ("validation", "test")),
        ):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ConfigError(f"gate.{setting} must be one of {', '.join(known)}; got {', '.join(unknown)}")
        if self.resamples < 1 or self.smallest_subgroup < 1:
            raise ConfigError(
                "gate.resamples and gate.smallest_subgroup must be at least 1, got "
                f"{self.resamples} and {self.smallest_subgroup}"
            )

    def refused(self, techniques: Sequence[str]) -> tuple[str, ...]:
        """Return those of `techniques` that are not allowed."""
        return tuple(technique for technique in techniques if technique not in self.techniques)

    def measure(self, task: Task, original: Artifact, compressed: Artifact, split: str | None = None) -> Degradation:
        """Return what `compressed` lost against `original`, on `split` (the gate's own, if None)."""
        return measure_degradation(
            task,
            original,
            compressed,
            split or self.split,
            resamples=self.resamples,
            by_group=self.by_group,
            smallest_subgroup=self.smallest_subgroup,
            seed=self.seed,
            floor=self._floor,
            sets=self.measures_sets,
        )

    @property
    def measures_sets(self) -> bool:
        """Whether it limits prediction sets."""
        return self.coverage is not None or self.set_size is not None

    @property
    def _floor(self) -> Floor | None:
        if self.floor is None:
            return None
        return Floor(self.floor_metric, None if isinstance(self.floor, str) else self.floor)

    def floor_verdict(self, subject: str, task: Task, model: Artifact) -> Verdict | None:
        """Return the verdict on a model before compression, which has nothing to lose; None without a floor."""
        floor = self._floor
        if floor is None:
            return None
        sampling: dict[str, Any] = bootstrap(task, self.split, self.resamples, self.by_group, self.seed)
        margin = floor.margin(task, model, self.split, **sampling)
        return Verdict(self.name, subject, findings=(self._above(floor, margin),))

    def verdict(self, subject: str, lost: Degradation, techniques: Sequence[str]) -> Verdict:
        """Return the verdict on a model that lost `lost` and was compressed by `techniques`."""
        found = [self._at_most(f"loss of {name}", lost.losses[name], limit) for name, limit in self.metrics.items()]
        if self.agreement is not None:
            found.append(self._at_least("agreement", lost.agreement, self.agreement))
        notices: tuple[str, ...] = ()
        if self.fairness is not None:
            found += [self._at_most(f"gap by {name}", growth, self.fairness) for name, growth in lost.gaps.items()]
            notices = lost.notices
        if self.coverage is not None and lost.shortfalls:
            least = [
                self._at_most(f"coverage of {own}, short by", s, self.coverage) for own, s in lost.shortfalls.items()
            ]
            found.append(max(least, key=lambda finding: math.inf if math.isnan(finding.bound) else finding.bound))
        if self.set_size is not None and lost.growth is not None:
            found.append(self._at_most("growth of sets", lost.growth, self.set_size))
        if self._floor is not None and lost.margin is not None:
            found.append(self._above(self._floor, lost.margin))
        found.sort(key=lambda finding: finding.passed)
        return Verdict(self.name, subject, self.refused(techniques), tuple(found), notices)

    def alternatives(self) -> str:
        """Return what the gate allows, as a user types it."""
        return ", ".join(f"{TECHNIQUES[technique]} ({spell_out(technique)})" for technique in self.techniques)

    def _at_most(self, quantity: str, change: Interval, limit: float) -> Finding:
        bound = change.high if self.judge == "interval" else change.value
        return Finding(quantity, change, limit, bound, bound < limit)

    def _at_least(self, quantity: str, change: Interval, limit: float) -> Finding:
        bound = change.low if self.judge == "interval" else change.value
        return Finding(quantity, change, limit, bound, bound >= limit, at_least=True)

    def _above(self, floor: Floor, margin: Interval) -> Finding:
        return Finding(str(floor), margin, 0.0, margin.value, margin.value >= 0, at_least=True)


def open_gate(config: DictConfig) -> Gate | None:
    """Return the gate of `config`, if it has one."""
    if config.get("gate") is None:
        return None
    gate: Gate = instantiate(plain(config.gate))
    return gate
