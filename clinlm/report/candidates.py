"""Which models of a sweep are compared, and what they are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from clinlm.models.artifact import Artifact
from clinlm.report.comparison import Candidate
from clinlm.report.ensembles import Assembly, assemblies

Run = Mapping[str, Any]
"""What a pipeline left in its folder: see `clinlm.cli.run`."""

_NAMED = ("pipeline", "seed")


@final
@dataclass(frozen=True)
class Chosen:
    """A model of a sweep.

    Attributes:
        name: pipeline, the settings that differ between the runs, and the seed; distinct.
        group: the name without the seed: models of one group differ only in it.
        role: teacher or student.
        folder: of its artifact.
        cached: whether it was there before the sweep.
        reference: name of the teacher that it is compared with; its own for a teacher.
        overrides: what makes it from the shell; of a teacher, with what comes after it.
    """

    name: str
    group: str
    role: str
    folder: str
    cached: bool
    reference: str
    overrides: tuple[str, ...] = ()

    def candidate(self) -> Candidate:
        """Return it as `compare` takes it."""
        return Candidate(self.name, self.role, Artifact(Path(self.folder)), self.cached, self.reference)


def chosen(runs: Sequence[Run]) -> list[Chosen]:
    """Return every teacher, then the last stage of every run.

    A pipeline of a single stage gives its name to that stage; teachers of longer ones are called `teacher`.
    """
    seeds = {run["seed"] for run in runs}
    varied = _varied(runs)
    endings = [f" s{run['seed']}" if len(seeds) > 1 else "" for run in runs]
    settings = ["".join(f" {one}" for one in _settings(run, varied)) for run in runs]
    teachers: dict[str, Chosen] = {}
    taken: set[str] = set()
    alone = {run["stages"][0]["folder"]: number for number, run in enumerate(runs) if len(run["stages"]) == 1}
    for number, run in enumerate(runs):
        first = run["stages"][0]
        if first["folder"] not in teachers:
            own = alone.get(first["folder"])
            group = "teacher" if own is None else f"{runs[own]['pipeline']}{settings[own]}"
            name = _distinct(f"{group}{endings[number]}", taken)
            overrides = tuple(runs[number if own is None else own].get("overrides", ()))
            teachers[first["folder"]] = Chosen(
                name, group, first["role"], first["folder"], first["cached"], name, overrides
            )
    lasts = []
    for run, ending, own_settings in zip(runs, endings, settings, strict=True):
        first, last = run["stages"][0], run["stages"][-1]
        if last is first:
            continue
        group = f"{run['pipeline']}{own_settings}"
        name = _distinct(f"{group}{ending}", taken)
        reference = teachers[first["folder"]].name
        overrides = tuple(run.get("overrides", ()))
        lasts.append(Chosen(name, group, last["role"], last["folder"], last["cached"], reference, overrides))
    return [*teachers.values(), *lasts]


def taught(runs: Sequence[Run], models: Sequence[Chosen], root: Path) -> list[Assembly]:
    """Return the ensembles that stages of the runs learned from, each once, to be compared with the runs' last stages.

    Args:
        runs: of one task.
        models: of `chosen`.
        root: the store.
    """
    by_folder = {model.folder: model for model in models}
    found: dict[tuple[str, str], Assembly] = {}
    taken = {model.name for model in models}
    for run in runs:
        first, last = (by_folder[run["stages"][place]["folder"]] for place in (0, -1))
        for one in assemblies(run["stages"], root, run["task"]["key"]):
            same = (one.key, first.name)
            if same not in found:
                name, group = _distinct(f"teachers of {last.name}", taken), f"teachers of {last.group}"
                own = tuple(run.get("overrides", ()))
                found[same] = replace(one, name=name, group=group, students=(), reference=first.name, overrides=own)
            students = tuple(dict.fromkeys([*found[same].students, last.name]))
            found[same] = replace(found[same], students=students)
    return list(found.values())


def _varied(runs: Sequence[Run]) -> list[str]:
    """Return the settings, beside pipeline and seed, that not all runs share, in the order of the shell."""
    values: dict[str, set[str | None]] = {}
    told = [dict(one.split("=", 1) for one in run.get("overrides", ()) if "=" in one) for run in runs]
    for one in told:
        for key in one:
            values.setdefault(key, {other.get(key) for other in told})
    return [key for key, found in values.items() if len(found) > 1 and key not in _NAMED]


def _settings(run: Run, varied: Sequence[str]) -> list[str]:
    own = dict(one.split("=", 1) for one in run.get("overrides", ()) if "=" in one)
    return [f"{key.rpartition('.')[2]}={_short(own[key])}" for key in varied if key in own]


def _short(value: str) -> str:
    """Three digits of a number that an optimiser drew say enough to tell rows apart."""
    try:
        return f"{float(value):.3g}" if "." in value else value
    except ValueError:
        return value


def _distinct(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    taken.add(name)
    return name
