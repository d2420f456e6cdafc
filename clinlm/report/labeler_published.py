"""Labelers and what learned from them as rows of the published table of S2."""

from collections import defaultdict
from collections.abc import Sequence

from clinlm.metrics.economics import Economics
from clinlm.report.baselines import BASELINE, LABELER
from clinlm.report.entity_scores import EntityScores
from clinlm.report.labeler_lines import Line
from clinlm.report.row import Row

LABELERS, PEOPLE, DISTILLED, OUTSIDE = "labeler", "people", "distilled", "distilled, external"
"""Rows of conf/published/labelers.yaml that ours stand below."""


def rows(lines: Sequence[Line]) -> dict[str, dict[str, Row]]:
    """Return the published row -> labeler (and model, where it has several) -> ours, with strict F1 by label.

    TF-IDF is not among them.
    """
    labelers = {one.labeler: one.takes for one in lines if one.model == LABELER}
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for one in lines:
        if one.model == BASELINE:
            continue
        if one.model == LABELER:
            found[LABELERS][one.name] = _row(one, one.own, None)
        elif one.people:
            found[PEOPLE][one.model] = _row(one, one.own, None)
        else:
            before = labelers.get(one.labeler)
            found[DISTILLED][one.name] = _row(one, one.own, before)
            if one.outside is not None:
                found[OUTSIDE][one.name] = _row(one, one.outside, before)
    return {name: found[name] for name in (LABELERS, PEOPLE, DISTILLED, OUTSIDE) if name in found}


def _row(line: Line, scores: EntityScores, labeler_takes: Economics | None) -> Row:
    return Row(
        name=line.name,
        kind="baseline" if line.model == LABELER else "stage",
        key="",
        parameters=scores.parameters,
        nonzero=scores.parameters,
        bytes=scores.bytes,
        seconds=float("nan"),
        cached=False,
        engine=scores.engine,
        quality={f"{label.lower()}_f1": one.value for label, one in scores.strict.items()},
        latency=scores.latency,
        takes=line.takes,
        labeler_takes=labeler_takes,
    )
