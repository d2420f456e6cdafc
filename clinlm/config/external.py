"""Settings of the external corpus: those of the task, where they are not set."""

from typing import Any, Final

from omegaconf import DictConfig

from clinlm.config.settings import plain

_OWN: Final = ("root", "corpus", "labels", "documents", "training_documents", "shares")
"""Settings of a task that its external corpus does not take over: which documents are chosen, and where they lie."""


def external_settings(config: DictConfig) -> dict[str, Any] | None:
    """Return the settings of the group `external` as a task; None where it is `none`.

    One without a class of its own is a task as `task` with another corpus: what it does not set is as in `task`, and so
    are settings of the corpus, where both have one reader.
    """
    if config.get("external") is None:
        return None
    task, external = plain(config.task), plain(config.external)
    if "_target_" in external:
        return external
    inherited = {name: value for name, value in task.items() if name not in _OWN}
    same = task["corpus"]["_target_"] == external["corpus"]["_target_"]
    return inherited | external | {"corpus": (task["corpus"] if same else {}) | external["corpus"]}
