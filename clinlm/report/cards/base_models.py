"""Which published checkpoints a model comes from, and under which licence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, final

from omegaconf import OmegaConf

from clinlm.config.validation import CONF
from clinlm.models.artifact import Artifact
from clinlm.report.cards.privacy import is_hub_name

_FACT: Final = re.compile(r"^#.*\blicence ([^|\n]+?) *(?:\||$)", re.MULTILINE)
_FROM_TEACHER: Final = (
    ".FromTeacher",
    ".Factorized",
    ".Projected",
    ".TextCnn",
    ".Wide",
    ".DilatedCnn",
    ".TokenVectors",
)
LICENCES: Final[Mapping[str, str]] = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC0": "cc0-1.0"}
"""Licence as conf/model spells it -> its identifier on the hub."""


@final
@dataclass(frozen=True)
class BaseModel:
    """A checkpoint whose weights a model started from or learned from.

    Attributes:
        name: on the hub; "" for a folder of the machine, which is not named.
        licence: as its card states it; "" where that is not known.
        learned_from: whether a teacher of the model started from it, and the model itself did not.
    """

    name: str
    licence: str
    learned_from: bool

    def line(self) -> str:
        """Return a sentence about it."""
        licence = f"licence {self.licence}" if self.licence else "its licence is to be stated by who trained the model"
        how = "a teacher started from it" if self.learned_from else "its weights were the start"
        return f"{self.name or 'a checkpoint in a local folder (not named here)'}: {how}; {licence}"


def base_models(stages: Sequence[Artifact], own: Artifact | None) -> list[BaseModel]:
    """Return the checkpoints that `stages` began with; none where every network began with random weights.

    Args:
        stages: artifacts that the model was built by.
        own: of the model: what it and its ancestors started from is told apart from what its teachers did.
    """
    by_key = {artifact.key: artifact for artifact in stages}
    ancestors = set[str]()
    while own is not None and own.key not in ancestors:
        ancestors.add(own.key)
        start, teachers = own.record["parents"]["start"], own.record["parents"]["teachers"]
        if start is None and _takes_weights(own) and teachers:
            start = teachers[0]
        own = by_key.get(start)
    found: dict[str, BaseModel] = {}
    for artifact in stages:
        settings = _start(artifact)
        if str(settings.get("_target_", "")).endswith(".Pretrained"):
            name = str(settings.get("name", ""))
            name = name if is_hub_name(name) else ""
            found.setdefault(name, BaseModel(name, licences().get(name, ""), artifact.key not in ancestors))
    return list(found.values())


@cache
def licences() -> Mapping[str, str]:
    """Return the licence of every checkpoint of conf/model by its name on the hub, "" where its card states none."""
    found = {}
    for path in sorted((CONF / "model").glob("*.yaml")):
        fact = _FACT.search(path.read_text(encoding="utf-8"))
        name = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        if fact is not None and isinstance(name, dict) and name.get("name"):
            found[str(name["name"])] = "" if fact[1].startswith("not stated") else fact[1].strip()
    return found


def licence_identifier(models: Sequence[BaseModel]) -> str:
    """Return the hub's identifier of the licence of what a model started from: `other` where it has to be stated."""
    own = {model.licence for model in models}
    return LICENCES.get(next(iter(own)), "other") if len(own) == 1 else "other"


def _start(artifact: Artifact) -> Mapping[str, Any]:
    """Return the settings of the initializer that a stage began with; none where it names another stage."""
    settings = artifact.record["settings"].get("start")
    return settings if isinstance(settings, Mapping) else {}


def _takes_weights(artifact: Artifact) -> bool:
    """Return whether a student began with weights of its teacher."""
    settings = _start(artifact)
    return str(settings.get("_target_", "")).endswith(_FROM_TEACHER)
