"""What a stage needs to know of its module before it has a model to build it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

from hydra.utils import get_object, instantiate

from clinlm.config.errors import ConfigError
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import Module


@final
@dataclass(frozen=True)
class ModuleFactory:
    """A class of module and its arguments, but for model, data and seed.

    Attributes:
        kind: a concrete subclass of `Module`.
        arguments: built from the settings.
    """

    kind: type[Module]
    arguments: Mapping[str, Any]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the factory of a node with a `_target_`.

        Raises:
            ConfigError: the target is no `Module`.
        """
        target = settings.get("_target_")
        kind = get_object(str(target))
        if not (isinstance(kind, type) and issubclass(kind, Module)):
            raise ConfigError(f"a stage's module must be a clinlm Module, got {target}; set module._target_ to one")
        own = {name: value for name, value in settings.items() if name not in ("_target_", "_partial_")}
        return cls(kind, {name: instantiate(v) if isinstance(v, Mapping) else v for name, v in own.items()})

    @property
    def imitates(self) -> bool:
        """Whether a teacher's network runs in training, to imitate its hidden states."""
        return self.kind.imitates(self.arguments)

    def build(self, model: Model, data: TaskData, seed: int, teacher: Model | None) -> Module:
        """Return the module.

        Args:
            teacher: whose network is imitated; None if none is.
        """
        arguments = self.arguments if teacher is None else {**self.arguments, "teacher": teacher}
        return self.kind(model=model, data=data, seed=seed, **arguments)
