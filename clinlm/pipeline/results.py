"""What stages of a pipeline come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ClinlmError
from clinlm.models.artifact import Artifact
from clinlm.pipeline.gates import Verdict
from clinlm.training.teachers.base import TeacherSource


@final
@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        role: teacher or student.
        cached: whether the store had it before this run.
        teachers: those whose logits it learned from; how several were combined is in the artifact's settings.
        techniques: how it was compressed, here and in all that it comes from; keys of
            `clinlm.pipeline.gates.TECHNIQUES`.
        verdict: of the gate; None where there is none, or none after this stage.
    """

    name: str
    role: str
    artifact: Artifact
    cached: bool
    teachers: tuple[TeacherSource, ...] = ()
    techniques: tuple[str, ...] = ()
    verdict: Verdict | None = None


@final
class GateFailed(ClinlmError, RuntimeError):
    """A pipeline stopped at its gate.

    Attributes:
        done: the finished stages, the one that failed last; none where a technique is not allowed.
        verdicts: those that failed.
    """

    exit_status = 3

    def __init__(self, message: str, done: Sequence[StageResult] = (), verdicts: Sequence[Verdict] = ()) -> None:
        super().__init__(message)
        self.done, self.verdicts = list(done), list(verdicts)
