"""What a plan knows of a stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from clinlm.models.checkpoint_place import CheckpointPlace

if TYPE_CHECKING:  # a stage that is in the store is not opened, and Lightning not imported
    from clinlm.pipeline.stage import Stage

Role = Literal["teacher", "student"]


@final
@dataclass(frozen=True)
class StageSpec:
    """One stage of a plan: plain data, all that the pipeline and its gate need to know of it.

    Attributes:
        role: teacher or student.
        settings: resolved; the stage's key is made of them.
        parent: name of the stage that it continues; None if it has an initializer.
        teachers: names of the stages that it learns from, and `TFIDF`.
        group: the stage of the configuration that it is a member of; "" if it is no member.
        answers: whether it learns to answer the task (general distillation does not).
        needs_logits: whether training needs the teachers' logits.
        trains: whether anything learns.
        techniques: how it compresses, as it declares; keys of `clinlm.pipeline.gates.TECHNIQUES`.
        gradual: whether it prunes during training.
        fingerprint: of its initializer; None if it has none.
        checkpoint: that `fingerprint` is of; None where that is of settings alone.
        texts: the fingerprint of its augmentation; None if it has none.
    """

    name: str
    role: Role
    settings: Mapping[str, Any]
    parent: str | None
    teachers: tuple[str, ...]
    group: str
    answers: bool
    needs_logits: bool
    trains: bool
    techniques: tuple[str, ...]
    gradual: bool
    fingerprint: str | None = None
    checkpoint: CheckpointPlace | None = None
    texts: str | None = None

    def open(self) -> "Stage":
        """Return the stage, freshly built."""
        from clinlm.pipeline.stage import Stage

        return Stage.from_settings(self.settings)
