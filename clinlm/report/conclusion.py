"""What a careful reader would conclude from a table, in a few sentences, by stated rules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.noninferiority import NonInferiority
from clinlm.report import cells
from clinlm.report.baselines import BASELINES
from clinlm.report.cells import spelled
from clinlm.report.results import ModelResult
from clinlm.report.verdicts import power_sentence
from clinlm.training.teachers.tfidf import TFIDF

_NAMED = 3
"""Rows named in a list; of more, only how many."""
_LESS: Mapping[str, str] = {
    "pruning": "a lower prune.ratio",
    "iterative_pruning": "a lower prune.ratio",
    "factorization": "a higher factorize.rank",
    "distillation": "more layers (student.layers) or more student_epochs",
    "int4": "quantize=dynamic",
    "post_training_quantization": "pipeline=quantization_qat",
    "quantization_aware_training": "more epochs",
}
"""Technique -> what compresses less by it."""


@final
@dataclass(frozen=True)
class Conclusion:
    """The sentences about a table; "" where the numbers carry none.

    Attributes:
        floor: which models are below TF-IDF, the best of its rows, or that none is.
        domination: which rows dominate compressed models.
        verdict: which models are non-inferior, inferior and undecided.
        next: what to try.
        use: name of the baseline that `next` says to use instead of the model.
    """

    floor: str
    domination: str
    verdict: str
    next: str
    use: str = ""

    @property
    def sentences(self) -> list[str]:
        """Those that there are, in order."""
        return [said for said in (self.floor, self.domination, self.verdict, self.next) if said]


def conclude(results: Sequence[ModelResult], subject: str, metric: str) -> Conclusion:
    """Return what follows from a comparison.

    The absolute floor is TF-IDF: a model below it, by value, is told before all else, whatever it lost to its teacher.

    Args:
        subject: name of the result that the comparison is about: the last model, or the best by validation.
        metric: that training monitored; TF-IDF is compared by it and by the metric of the margin.
    """
    by_name = {own.name: own for own in results}
    claims = [own for own in results if own.non_inferiority is not None and own.non_inferiority.claimed]
    about = claims or [by_name[subject]]
    teachers = dict.fromkeys(own.reference for own in about if own.reference in by_name)
    compared = [own for own in results if own in about or own.name in teachers]
    metrics = dict.fromkeys([metric, *(own.non_inferiority.metric for own in claims if own.non_inferiority)])
    use = _instead(by_name, by_name[subject], metric)
    return Conclusion(
        floor_sentence(results, compared, list(metrics)) or _no_floor(results),
        _domination(results, about),
        _verdicts(claims) if claims else _difference(by_name[subject], metric),
        _next(by_name, by_name[subject], metric, use),
        use,
    )


def floor_sentence(
    results: Sequence[ModelResult], models: Sequence[ModelResult], metrics: Sequence[str], where: str = ""
) -> str:
    """Return which of `models` are below the best TF-IDF row by a metric; "" where no row of TF-IDF has one.

    Args:
        where: of the documents, such as " on bc5cdr"; "" for those of the task.
    """
    models = [own for own in models if own.kind != "baseline" and own.quality]
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for metric in metrics:
        floor, known = best_floor(results, metric), [own for own in models if _value(own, metric) >= 0]
        if floor is not None and known:
            below = [own.name for own in known if own.quality[metric] < floor.quality[metric]]
            reach = [own.name for own in known if own.name not in below]
            groups.setdefault((floor.name, tuple(below), tuple(reach)), []).append(metric)
    clauses = []
    by_name = {own.name: own for own in results}
    for (best, lower, level), own in groups.items():
        if not lower:
            verb = "are" if len(level) > 1 else "is"
            clauses.append(
                f"{listed(level)} {verb} not below {best}{where} in {_and([spelled(metric) for metric in own])}"
            )
            continue
        scores = [
            f"{spelled(metric)} ({cells.percent(by_name[best].quality[metric])} against "
            f"{'at most ' * (len(lower) > 1)}{cells.percent(max(_value(by_name[name], metric) for name in lower))} %)"
            for metric in own
        ]
        clauses.append(
            f"{best} is better than {listed(lower)}{where} in {_and(scores)}{_chance(best, lower, own, by_name)}"
        )
    return _sentence("; ".join(clauses))


def _no_floor(results: Sequence[ModelResult]) -> str:
    """Return that TF-IDF has no numbers, where it should have some."""
    empty = [own.name for own in results if own.name in BASELINES and not own.quality]
    return _sentence(f"{_and(empty)} could not be fitted: whether any model is worth its size is unknown") * bool(empty)


def external_sentences(results: Sequence[ModelResult], corpus: str) -> list[str]:
    """Return what follows from results on an external corpus: the floor there, and what models lose against own test.

    No margin is fixed for it, so nothing is claimed.
    """
    models = [own for own in results if own.kind != "baseline" and own.drop is not None]
    said = [floor_sentence(results, models, ["micro_f1"], f" on {corpus}")]
    drops = {own.name: own.drop for own in models if own.drop is not None and own.drop.significant}
    lower = [name for name, drop in drops.items() if drop.high < 0]
    higher = [name for name, drop in drops.items() if drop.low > 0]
    if lower:
        said.append(_sentence(f"micro F1 on {corpus} is below that on the own test documents for {listed(lower)}"))
    if higher:
        said.append(_sentence(f"micro F1 on {corpus} is above that on the own test documents for {listed(higher)}"))
    if models and not drops:
        said.append(_sentence(f"no model shows a difference in micro F1 between {corpus} and the own test documents"))
    return [sentence for sentence in said if sentence]


def differences_sentence(found: Mapping[str, Interval | None], metric: str, reference: str) -> str:
    """Return for which rows a metric is lower, higher or not shown to differ, against what is named `reference`.

    Args:
        found: row -> own minus that of its reference; None where there is none.
    """
    known = {name: own for name, own in found.items() if own is not None}
    parts = {
        "lower for": [name for name, own in known.items() if own.high < 0],
        "higher for": [name for name, own in known.items() if own.low > 0],
        "not shown to differ for": [name for name, own in known.items() if not own.significant],
    }
    said = "; ".join(f"{what} {listed(rows)}" for what, rows in parts.items() if rows)
    return _sentence(f"{metric} against {reference} is {said}") if said else ""


def best_floor(results: Sequence[ModelResult], metric: str) -> ModelResult | None:
    """Return the best row of TF-IDF by a metric; None without one that has it."""
    rows = [own for own in results if own.name in BASELINES]
    rows = [own for own in rows if _value(own, metric) >= 0]
    return max(rows, key=lambda own: own.quality[metric], default=None)


def _chance(floor: str, below: Sequence[str], metrics: Sequence[str], by_name: Mapping[str, ModelResult]) -> str:
    """Return that differences from a row of TF-IDF are not significant, where one is not; "" otherwise."""
    found = [by_name[name].against_baselines.get(floor, {}).get(metric) for name in below for metric in metrics]
    if all(own is None or own.significant for own in found):
        return ""
    return (
        ", though the difference may be chance" if len(found) == 1 else ", though not every difference is significant"
    )


def _domination(results: Sequence[ModelResult], about: Sequence[ModelResult]) -> str:
    """Return which rows dominate the models: for each the best that is not the same model on an engine."""
    found: dict[str, list[str]] = {}
    origin = {own.name: own.deployment.get("of", own.name) for own in results}
    kinds = {own.name: own.kind for own in results}
    for own in about:
        others = [name for name in own.dominated_by if origin.get(name) != origin[own.name]]
        if others:
            first = min(others, key=lambda name: (kinds.get(name) != "baseline", others.index(name)))
            found.setdefault(first, []).append(own.name)
    clauses = [f"{name} dominates {listed(rows)}" for name, rows in found.items()]
    if not clauses:
        return ""
    load = any(own.latency is not None and own.latency.disturbed for own in about)
    ending = " (latencies were measured under load)" if load else ""
    return _sentence(
        "; ".join(clauses[:_NAMED]) + f": as small, as fast and as good, and better in at least one{ending}"
    )


def _verdicts(claims: Sequence[ModelResult]) -> str:
    judged = [own.non_inferiority for own in claims if own.non_inferiority is not None]
    caveats = "".join(f"; {caveat}" for caveat in dict.fromkeys(own.caveat for own in judged if own.caveat))
    if len(claims) == 1:
        return _sentence(_single(claims[0], judged[0]) + caveats)
    by_outcome = {
        outcome: [row.name for row, own in zip(claims, judged, strict=True) if own.verdict == outcome]
        for outcome in ("non-inferior", "inferior", "undecided")
    }
    margins = dict.fromkeys(f"{100 * own.margin:g} points of {spelled(own.metric)}" for own in judged)
    parts = [f"{outcome}: {listed(rows)}" for outcome, rows in by_outcome.items() if rows]
    worse = [row.name for row, own in zip(claims, judged, strict=True) if own.worse]
    if worse:
        parts[0] += f" ({listed(worse)} worse all the same)"
    power = power_sentence([own for own in judged if own.verdict == "undecided" and own.detectable > own.margin])
    if power:
        parts[-1] += f" ({power})"
    head = f"of {len(claims)} compressed models, margin {_and([*margins])}, Holm-corrected, "
    return _sentence(head + "; ".join(parts) + caveats)


def _single(row: ModelResult, own: NonInferiority) -> str:
    change = own.difference
    shown = f"{spelled(own.metric)} {cells.points(change.value)} ({100 * change.low:+.2f}…{100 * change.high:+.2f})"
    shown = f"{shown}, margin {100 * own.margin:g}"
    if own.verdict != "undecided":
        beyond = ", and worse than it" if own.worse else ", and better than it" if change.low > 0 else ""
        words = f"{own.verdict} to {row.reference}{beyond}"
        return f"{row.name} is {words}: {shown}"
    if math.isnan(own.standard_error):
        return f"whether {row.name} is non-inferior to {row.reference} is undecided: the difference is undefined"
    wanting = own.detectable > own.margin
    reason = power_sentence([own]) if wanting else "the notes suffice for this margin, but the loss is near it"
    return f"whether {row.name} is non-inferior to {row.reference} is undecided: {shown}; {reason}"


def _difference(row: ModelResult, metric: str) -> str:
    """Return how a row compares with its reference where no margin was fixed, or nothing was compressed."""
    change = row.differences.get(metric)
    if change is None:
        return _sentence(f"{row.name} is the reference: {spelled(metric)} {cells.percent(row.quality.get(metric))} %")
    shown = f"{spelled(metric)} {cells.points(change.value)} ({cells.points_range(change.low, change.high)})"
    word = "is better than" if change.low > 0 else "is worse than" if change.high < 0 else "shows no difference from"
    if cells.points(change.value) == cells.NONE:
        return _sentence(f"{row.name} cannot be compared with {row.reference} in {spelled(metric)}")
    return _sentence(f"{row.name} {word} {row.reference}: {shown}")


def _instead(by_name: Mapping[str, ModelResult], row: ModelResult, metric: str) -> str:
    """Return the baseline to use instead of a row: the floor above it and its teacher, what dominates it, or the floor.

    A row that is not below the floor is not replaced by it, wherever its teacher is.
    """
    floor = _floor_above(by_name, row, metric)
    if floor and _floor_above(by_name, by_name.get(row.reference, row), metric):
        return floor
    dominant = [name for name in row.dominated_by if by_name[name].kind == "baseline"]
    return dominant[0] if dominant else floor


def _floor_above(by_name: Mapping[str, ModelResult], row: ModelResult, metric: str) -> str:
    """Return the name of the floor, if a row is below it; "" otherwise."""
    floor = best_floor([*by_name.values()], metric)
    return floor.name if floor is not None and _value(row, metric) < floor.quality[metric] else ""


def _next(by_name: Mapping[str, ModelResult], row: ModelResult, metric: str, use: str) -> str:
    """Return what to try next, by the first rule that applies."""
    teacher = by_name.get(row.reference, row)
    if all(_floor_above(by_name, own, metric) for own in (row, teacher)):
        return f"Next: use {use}, or train on more notes: even uncompressed, {teacher.name} is below it."
    if use:
        return f"Next: use {use}, or {_both(row)}."
    own = row.non_inferiority
    if own is None:
        return ""
    if own.verdict == "non-inferior":
        if row.splits is not None:
            return f"Next: use {row.name}, or compress it further."
        return f"Next: confirm {row.name} on other splits (resplits=5)."
    needed = own.needed(own.margin)
    if own.verdict == "undecided" and needed is not None and needed > own.units:
        splits = ", or on several splits (resplits=5)" * (row.splits is None)
        return f"Next: test on {needed:,} {own.unit}{splits}."
    less = [_LESS[technique] for technique in row.lineage.techniques if technique in _LESS]
    return (
        f"Next: compress less: {' or '.join(dict.fromkeys(less))}; or {_both(row)}." if less else f"Next: {_both(row)}."
    )


def _both(row: ModelResult) -> str:
    """Return how a model could learn more."""
    learned = row.lineage.teachers
    if learned and TFIDF not in learned:
        return f"learn from both (stages.{row.lineage.stage}.teachers=[{','.join(learned)},{TFIDF}])"
    return "train longer (epochs=)"


def listed(rows: Sequence[str]) -> str:
    """Return names in a list; of more than three, the first and how many more."""
    if len(rows) > _NAMED + 1:
        return f"{', '.join(rows[:_NAMED])} and {len(rows) - _NAMED} more"
    return _and(rows)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _sentence(words: str) -> str:
    """Return words as a sentence; names of rows keep their case."""
    if not words:
        return ""
    head = words.partition(" ")[0]
    starts = head in ("whether", "of", "every")
    return f"{words[0].upper() + words[1:] if starts else words}."


def _value(row: ModelResult, metric: str) -> float:
    """Return a metric; -1 where it is undefined or was not measured."""
    value = row.quality.get(metric, -1.0)
    return value if value == value else -1.0  # NaN


def conclusion_markdown(sentences: Sequence[str]) -> str:
    """Return the sentences as a paragraph above a table; "" for none."""
    return f"**{' '.join(sentences)}**\n\n" if sentences else ""
