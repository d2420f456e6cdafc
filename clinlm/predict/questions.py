"""Which question a model answers: the kind of its task says so."""

from collections.abc import Callable
from typing import Any

from clinlm.predict.label_question import LabelQuestion
from clinlm.predict.question import Question
from clinlm.predict.span_question import SpanQuestion
from clinlm.tasks.inference_config import InferenceConfig, Kind


def question(serving: InferenceConfig) -> Question[Any]:
    """Return what a model with such serving is asked."""
    kinds: dict[Kind, Callable[[InferenceConfig], Question[Any]]] = {
        "multilabel": LabelQuestion,
        "multiclass": LabelQuestion,
        "entities": SpanQuestion,
    }
    return kinds[serving.kind](serving)
