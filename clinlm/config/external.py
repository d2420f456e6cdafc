"""Settings of the external corpus: those of the task, where they are not set."""

from typing import Any, Final

from omegaconf import DictConfig

from clinlm.config.settings import plain

_OWN: Final = ("root", "corpus", "labels", "documents", "training_documents", "shares")
"""Settings of a task that its external corpus does not take over: which documents are chosen, and where they lie."""


def external_settings(config: DictConfig) -> dict[str, Any] | None:
    """Return the settings of the group `external` as a task; None where it is `none`.

    What is not set is as in `task`, where both are of one class; and so are settings of the corpus.
    """
    if config.get("external") is None:
        return None
    task, external = plain(config.task), plain(config.external)
    if task["_target_"] != external["_target_"]:
        return external
    inherited = {name: value for name, value in task.items() if name not in _OWN}
    same = task["corpus"]["_target_"] == external["corpus"]["_target_"]
    return inherited | external | {"corpus": (task["corpus"] if same else {}) | external["corpus"]}
