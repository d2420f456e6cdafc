"""A dry run of a plan on shapes: what a method cannot do to a network is known before anything trains."""

import copy
from collections.abc import Mapping, Sequence

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.initializers.base import Initializer
from clinlm.models.model import Model
from clinlm.pipeline.stage import Stage
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.training.hidden_state_losses.base import HiddenStateLoss


def check_shapes(specs: Sequence[StageSpec]) -> None:
    """Do to shapes what the stages of a plan do to networks. No text and no weight is read, and nothing is trained.

    A stage whose start is not known, such as one from an initializer without a sketch, is not checked.

    Raises:
        ConfigError, ModelError: a method, a hidden-state loss or an initializer cannot be applied.
    """
    sketches: dict[str, Model | None] = {}
    for spec in specs:
        try:
            sketches[spec.name] = _after(spec.open(), spec, sketches)
        except (ConfigError, ModelError) as error:
            raise type(error)(f"stages.{spec.name}: {error}") from error


def _after(stage: Stage, spec: StageSpec, sketches: Mapping[str, Model | None]) -> Model | None:
    """Return the sketch that a stage leaves."""
    teachers = [sketches[name] for name in spec.teachers if name in sketches]
    teacher = teachers[0] if teachers else None
    if isinstance(stage.start, Initializer):
        model = stage.start.sketch(teacher)
    else:
        model = copy.deepcopy(sketches.get(spec.parent or ""))
    if model is None:
        return None
    for own in stage.declared:
        own.dry_run(model)
    structure.check_trainable(model.network)
    adapter = stage.module.arguments.get("adapter")
    if stage.trains and isinstance(adapter, Adapter):
        adapter.check(model.network)
    for loss in stage.module.arguments.values():
        if isinstance(loss, HiddenStateLoss) and teacher is not None:
            loss.attach(model.network.body, teacher.network.body)
    for own in stage.declared:
        own.dry_finish(model)
    return model
