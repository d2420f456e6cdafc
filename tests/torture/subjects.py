"""The commands that are attacked: what runs them, what they need, and what must be equal however they ended."""

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from support.commands import PRUNED

import clinlm.sweepers.study_storage
from torture.forks import clinlm_run, forked
from torture.runs import PIPELINE, Whole, difference, pipeline, stored, unbroken

_WORDS: Final = "fever cough wheeze gout aspirin no denies toe pain of the left chest urate".split()
_TEACHER: Final = (*(word for word in PIPELINE if word not in (*PRUNED, "pipeline=c", "epochs=2")), "epochs=1")
_SMALL: Final = (*_TEACHER, "pipeline=pruning", "prune.skip_std=0")


class Subject(NamedTuple):
    """A command under attack.

    Attributes:
        name: what the table calls it.
        prepare: writes what it needs into a new folder.
        run: folder -> what runs the command there.
        difference: of two folders in which it ran: what differs, "" for nothing.
        share: of the attacks on all subjects, relative to the others'.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], Callable[[], None]]
    difference: Callable[[Path, Path], str]
    share: int = 1

    def begin(self, place: Path) -> Path:
        """Return `place`, a new folder that holds what the command needs."""
        place.mkdir(parents=True)
        self.prepare(place)
        return place

    def whole(self) -> Whole:
        """Return the command run once, undisturbed."""
        return unbroken() if self.name == "c" else _whole(self)


@cache
def _whole(subject: Subject) -> Whole:
    folder = tempfile.TemporaryDirectory(prefix="torture-whole-")
    _folders.append(folder)
    place = subject.begin(Path(folder.name) / "own")
    ended = forked(subject.run(place), place)
    if ended.status != 0:
        raise RuntimeError(f"{subject.name} must run before it is attacked, it ended with:\n{ended.told}")
    return Whole(place, ended.seconds)


_folders: list[tempfile.TemporaryDirectory[str]] = []


def written(place: Path, *left: str) -> dict[str, bytes]:
    """Return the files that a command wrote, without hidden ones, what it printed, its store, progress and input."""
    apart = ("told", "store", "given", "elsewhere", *left)
    names = {path: path.relative_to(place) for path in sorted(place.rglob("*")) if path.is_file()}
    return {
        str(name): path.read_bytes().replace(str(place).encode(), b"PLACE")
        for path, name in names.items()
        if name.parts[0] not in apart
        and not any(part.startswith(".") for part in name.parts)
        and not name.name.endswith(".progress.json")
    }


def files_differ(*left: str) -> Callable[[Path, Path], str]:
    """Return what compares the files of two folders, without those of the names in `left`."""

    def compare(own: Path, other: Path) -> str:
        both = written(own, *left), written(other, *left)
        wrong = sorted(name for name in both[0].keys() | both[1].keys() if both[0].get(name) != both[1].get(name))
        return f"differs: {', '.join(wrong[:5])}" if wrong else "" if both[0] else "nothing is written"

    return compare


def _notes(place: Path) -> None:
    """Write notes to `given`: most can be read, a few cannot."""
    rng = random.Random(0)
    lines = [json.dumps({"id": number, "text": " ".join(rng.choices(_WORDS, k=12))}) for number in range(3000)]
    lines[7::500] = ['{"id": 1, "text"'] * len(lines[7::500])
    (place / "given").mkdir()
    (place / "given" / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (place / "given" / "terms.csv").write_text("name,more\naspirin,\ngout,podagra\n", encoding="utf-8")


def _predict(place: Path) -> Callable[[], None]:
    model = next((unbroken().place / "store").glob("recover_student-*"))
    settings = [f"artifact={model}", f"input={place / 'given' / 'notes.jsonl'}", "window=100", "threads=1"]
    return clinlm_run("predict", *settings, f"output={place / 'answers.csv'}")


def ontology(folder: Path) -> list[str]:
    """Return the settings of a labeler that knows the terms of `terms.csv` in a folder, columns name and more."""
    terms = "{_target_: clinlm.terminology.dictionary.Dictionary, file: terms.csv, label: A, columns: [name, more], "
    left = [f"~labeler.sources.{name}" for name in ("medications", "diseases", "symptoms")]
    own = f"+labeler.sources.own={terms}delimiter: '|', separator: ','}}"
    return ["labeler=ontology", f"labeler.root={folder}", own, *left]


def _label(place: Path) -> Callable[[], None]:
    given = place / "given"
    settings = [*ontology(given), f"input={given / 'notes.jsonl'}", f"store={place / 'store'}", "window=100"]
    return clinlm_run("label", *settings, f"output={place / 'labels.jsonl'}")


def _documents(place: Path) -> Callable[[], None]:
    settings = ["task=length_of_stay", "task.corpus.definition=strict", f"store={place / 'store'}"]
    return clinlm_run("documents", *settings, f"output={place / 'generated'}")


def _own_run(place: Path) -> None:
    shutil.copytree(unbroken().place / "run", place / "run")


def _report(kind: str) -> Callable[[Path], Callable[[], None]]:
    return lambda place: clinlm_run("report", kind, f"run={place / 'run'}")


def _stress(place: Path) -> Callable[[], None]:
    return clinlm_run("stress", f"run={place / 'run'}", "documents=30", "resamples=20", f"output={place / 'out'}")


def _auto(place: Path) -> Callable[[], None]:
    settings = [*_TEACHER, "pipeline=baseline", "engine=auto"]
    return clinlm_run(*settings, f"store={place / 'store'}", f"hydra.run.dir={place / 'run'}")


def _sweep(place: Path) -> Callable[[], None]:
    places = [f"store={place / 'store'}", f"hydra.sweep.dir={place / 'sweep'}"]
    return clinlm_run("-m", *_SMALL, "prune.ratio=0.25,0.5", *places)


def _study(place: Path, *more: str) -> Callable[[], None]:
    places = [f"store={place / 'store'}", f"hydra.sweep.dir={place / 'sweep'}"]
    search = ["hydra/sweeper=optuna", "prune.ratio=0.25,0.5,0.75", "hydra.sweeper.n_trials=3"]
    search += ["hydra.sweeper.objectives.latency_ms=null", f"hydra.sweeper.folder={place / 'studies'}"]
    run = clinlm_run("-m", *_SMALL, *search, *places, *more)

    def patient() -> None:
        clinlm.sweepers.study_storage.STARTS = 1000  # type: ignore[misc]  # settings that we kill are not to blame
        run()

    return patient


def _study_of_two(place: Path) -> Callable[[], None]:
    return _study(place, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def _stages_differ(own: Path, other: Path) -> str:
    """Compare stores without deployments: which engine is fastest is measured anew."""
    both = [
        {name: value for name, value in stored(place / "store").items() if not _of_deployment(place, name)}
        for place in (own, other)
    ]
    wrong = sorted(name for name in both[0].keys() & both[1].keys() if both[0][name] != both[1][name])
    return f"differs: {', '.join(wrong[:5])}" if wrong else ""


def _of_deployment(place: Path, name: str) -> bool:
    return (place / "store" / Path(name).parts[0] / "deployment.json").exists()


def _trials(place: Path) -> list[Any]:
    told = json.loads((place / "sweep" / "study.json").read_text(encoding="utf-8"))
    return [(one["params"], one["values"]) for one in told["trials"] if one["state"] == "COMPLETE"]


def _studies_differ(own: Path, other: Path) -> str:
    return "other trials" if _trials(own) != _trials(other) else _stages_differ(own, other)


def _values_differ(own: Path, other: Path) -> str:
    """Compare studies of two trials at a time, of which each may ask for its settings before or after the other."""
    both = [{str(params): values for params, values in _trials(place)} for place in (own, other)]
    same = all(both[0][params] == both[1][params] for params in both[0].keys() & both[1].keys())
    return _stages_differ(own, other) if same and len(_trials(own)) == len(_trials(other)) else "other trials"


def _nothing(place: Path) -> None:
    pass


SUBJECTS: Final = (
    Subject("c", _nothing, pipeline, difference, 8),
    Subject("engine=auto", _nothing, _auto, _stages_differ, 1),
    Subject("a sweep", _nothing, _sweep, _stages_differ, 3),
    Subject("a study of Optuna", _nothing, _study, _studies_differ, 2),
    Subject("a study, two trials at a time", _nothing, _study_of_two, _values_differ, 1),
    Subject("predict", _notes, _predict, files_differ(), 2),
    Subject("label", _notes, _label, files_differ(), 2),
    Subject("documents", _nothing, _documents, files_differ(), 2),
    Subject("report html", _own_run, _report("html"), files_differ(), 1),
    Subject("report clinical", _own_run, _report("clinical"), files_differ(), 1),
    Subject("report hf", _own_run, _report("hf"), files_differ(), 1),
    Subject("stress", _own_run, _stress, files_differ(), 1),
)
