"""Streams files of notes through models and labelers: answers, labels, comparison of two models, drift."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clinlm.predict.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import what is made for scripts when it is asked for: commands start without polars."""
    if name != "Predictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clinlm.predict.predictor import Predictor

    return Predictor
