"""A gate: how much a compressed model may lose against its original, and by which techniques it may be made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from clinlm.metrics.classification import METRICS
from clinlm.metrics.estimate import Estimate
from clinlm.models.artifact import Artifact
from clinlm.pipeline.degradation import Changes, measure
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
"""What a model may be compressed by -> what a user types for it: a whole pipeline that does nothing else."""

Judge = Literal["interval", "point"]


def spelt(technique: str) -> str:
    """Return a technique in words."""
    return technique.replace("post_", "post-").replace("_aware", "-aware").replace("_", " ")


@final
@dataclass(frozen=True)
class Finding:
    """One limit, and what was found.

    Attributes:
        what: "loss of macro_auroc", "agreement", "gap by gender".
        change: what was measured.
        limit: of it, a share of 1.
        bound: what is held against the limit: an end of the interval, or the value itself.
        passed: whether it keeps to the limit; never where it is undefined.
    """

    what: str
    change: Estimate
    limit: float
    bound: float
    passed: bool

    @property
    def excess(self) -> float:
        """How far the bound lies beyond the limit, as a share of 1; negative where there is room; NaN if undefined."""
        return self.limit - self.bound if self.what == "agreement" else self.bound - self.limit

    def line(self) -> str:
        """Return what was found, in points (hundredths), and by how much it passes or fails."""
        if math.isnan(self.bound):
            return f"{self.what}: undefined on these documents, so it is not shown to keep to {100 * self.limit:.2f}"
        beyond = "too little" if self.what == "agreement" else "too much"
        value, low, high = (f"{100 * each:z.2f}" for each in (self.change.value, self.change.low, self.change.high))
        by = f"{100 * abs(self.excess):.2f} {'to spare' if self.passed else beyond}"
        return f"{self.what} {value} ({low} to {high}), limit {100 * self.limit:.2f}: {by}"

    def reason(self) -> str:
        """Return in few words why it failed: which limit, and by how much, in points."""
        if math.isnan(self.bound):
            return f"{self.what} undefined"
        return f"{self.what} {100 * self.excess:.2f} beyond"


@final
@dataclass(frozen=True)
class Verdict:
    """What a gate says of a model.

    Attributes:
        gate: its name.
        subject: the name of the stage, or of the row.
        refused: techniques that the gate does not allow.
        findings: one a limit, those that failed first.
        notices: what could not be judged, and why.
    """

    gate: str
    subject: str
    refused: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every limit is kept, and every technique allowed."""
        return not self.refused and all(one.passed for one in self.findings)

    def line(self) -> str:
        """Return the verdict in one line; numbers are points, intervals in brackets."""
        said = [f"not allowed: {spelt(one)}" for one in self.refused]
        said += [one.line() for one in self.findings]
        told = f"gate {self.gate}, {self.subject}: {'passed' if self.passed else 'FAILED'}: {'; '.join(said)}"
        return "; ".join([told, *self.notices])

    def reasons(self) -> str:
        """Return in few words why it is no; "" if it is yes."""
        failed = [one.reason() for one in self.findings if not one.passed]
        return "; ".join([*(f"{spelt(one)} not allowed" for one in self.refused), *failed])


@final
@dataclass(frozen=True)
class Gate:
    """Limits of what a model may lose against its original. All are shares of 1, and differences of such shares.

    By `interval` a gate asks for non-inferiority: the end of the 95 % interval that speaks against the model has to
    keep to the limit, so that few documents prove little. By `point`, as S4, the value itself has.

    Attributes:
        name: of the gate, as typed.
        metrics: metric of `clinlm.metrics.classification` -> what its loss has to stay below.
        agreement: least share of equal decisions; None for any.
        fairness: what the gap between subgroups must not grow by, of any attribute of the corpus; None for any. See
            `clinlm.pipeline.degradation`.
        techniques: the keys of `TECHNIQUES` that are allowed.
        judge: `interval` or `point`.
        split: whose documents judge between stages. A pipeline that stops, or goes on, has chosen; test documents are
            for the report.
        resamples: of the bootstrap.
        by_group: draw whole groups (patients), as notes of one patient are not independent.
        smallest_subgroup: documents that a subgroup needs for its gap to be judged.
        seed: of the draw.

    Raises:
        ValueError: a setting is out of its range.
    """

    name: str
    metrics: Mapping[str, float]
    agreement: float | None = None
    fairness: float | None = None
    techniques: Sequence[str] = field(default_factory=lambda: tuple(TECHNIQUES))
    judge: Judge = "interval"
    split: Literal["validation", "test"] = "validation"
    resamples: int = 1000
    by_group: bool = True
    smallest_subgroup: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        shares = {**self.metrics, "agreement": self.agreement, "fairness": self.fairness}
        wrong = {name: value for name, value in shares.items() if value is not None and not 0 <= value <= 1}
        if wrong:
            raise ValueError(f"the limits of a gate are shares in [0, 1] (0.02 for two points); got {wrong}")
        for setting, given, known in (
            ("metrics", self.metrics, METRICS),
            ("techniques", self.techniques, TECHNIQUES),
            ("judge", [self.judge], ("interval", "point")),
            ("split", [self.split], ("validation", "test")),
        ):
            unknown = [one for one in given if one not in known]
            if unknown:
                raise ValueError(f"gate.{setting} knows {', '.join(known)}; got {', '.join(unknown)}")
        if self.resamples < 1 or self.smallest_subgroup < 1:
            raise ValueError(
                "gate.resamples and gate.smallest_subgroup are at least 1; got "
                f"{self.resamples} and {self.smallest_subgroup}"
            )

    def refused(self, techniques: Sequence[str]) -> tuple[str, ...]:
        """Return those of `techniques` that are not allowed."""
        return tuple(one for one in techniques if one not in self.techniques)

    def changes(self, task: Task, original: Artifact, artifact: Artifact, split: str | None = None) -> Changes:
        """Measure what `artifact` lost against `original`, on `split` (the gate's own, if None)."""
        return measure(
            task,
            original,
            artifact,
            split or self.split,
            resamples=self.resamples,
            by_group=self.by_group,
            smallest_subgroup=self.smallest_subgroup,
            seed=self.seed,
        )

    def verdict(self, subject: str, changes: Changes, techniques: Sequence[str]) -> Verdict:
        """Return what the gate says of a model made by `techniques`."""
        found = [self._most(f"loss of {name}", changes.losses[name], limit) for name, limit in self.metrics.items()]
        if self.agreement is not None:
            found.append(self._least("agreement", changes.agreement, self.agreement))
        notices: tuple[str, ...] = ()
        if self.fairness is not None:
            found += [self._most(f"gap by {name}", one, self.fairness) for name, one in changes.gaps.items()]
            notices = changes.notices
        found.sort(key=lambda one: one.passed)
        return Verdict(self.name, subject, self.refused(techniques), tuple(found), notices)

    def instead(self) -> str:
        """Return what the gate allows, as a user types it."""
        return ", ".join(f"{TECHNIQUES[one]} ({spelt(one)})" for one in self.techniques)

    def _most(self, what: str, change: Estimate, limit: float) -> Finding:
        bound = change.high if self.judge == "interval" else change.value
        return Finding(what, change, limit, bound, bound < limit)

    def _least(self, what: str, change: Estimate, limit: float) -> Finding:
        bound = change.low if self.judge == "interval" else change.value
        return Finding(what, change, limit, bound, bound >= limit)
