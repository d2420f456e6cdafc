"""Which of our results stands in which row of a published table."""

from collections.abc import Iterable, Mapping, Sequence

from clinlm.report.results import ModelResult

CRITERIA = ("kind", "pipeline", "stage", "role", "typed")
"""What an entry of `ours` may ask of a result: `typed` is an override of its command line, the others are its own."""
Places = Mapping[str, Sequence[Mapping[str, str]]]
"""Row -> what belongs there: of several entries the first that any result meets."""


def rows_of_ours(results: Sequence[ModelResult], rows: Iterable[str], places: Places) -> dict[str, str]:
    """Return group of results -> its row.

    A row that `places` does not mention takes the group of its own name, whatever the case. A row stays empty where
    results of several runs would share it, as in a sweep over a setting: they would be averaged as if they were seeds.
    Of the stages of one run the last one counts. A result that several rows ask for is in the most particular one.

    Args:
        results: those of one group differ only in their seed.
    """
    found: dict[str, str] = {}
    for row in rows:
        entries = places.get(row)
        if entries is None:
            met = [result for result in results if (result.group or result.name).casefold() == row.casefold()]
        else:
            met = next(filter(None, (_meeting(results, entry, places) for entry in entries)), [])
        groups = list(dict.fromkeys(result.group or result.name for result in met))
        if len(groups) == 1 or (groups and len({result.lineage.overrides for result in met}) == 1):
            found[groups[-1]] = row
    return found


def _meeting(results: Sequence[ModelResult], entry: Mapping[str, str], places: Places) -> list[ModelResult]:
    """Return the results that meet an entry, and no entry of any row that asks for more."""
    others = [other for entries in places.values() for other in entries if {*other.items()} > {*entry.items()}]
    return [result for result in results if _meets(result, entry) and not any(_meets(result, own) for own in others)]


def _meets(result: ModelResult, entry: Mapping[str, str]) -> bool:
    own = {"kind": result.kind, "pipeline": result.lineage.pipeline, "stage": result.lineage.stage, "role": result.role}
    return all(
        value in result.lineage.overrides if name == "typed" else own[name] == value for name, value in entry.items()
    )
