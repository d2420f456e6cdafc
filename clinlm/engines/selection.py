"""Opens a deployment with the engine that is fastest on this processor, once its answers have been checked here.

An export was timed, and compared with its artifact, on one processor. On another, another engine may be faster, and
integers may be multiplied by other instructions: some of them saturate. So a deployment holds a few rows of random
tokens with the artifact's answers (`check.safetensors`), and `engines.json` says which engines answered all documents
of the task within the limits, from the same `model.onnx`.
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, final

import numpy as np
from jaxtyping import Float, Int32
from safetensors.numpy import load_file, save_file

from clinlm.config.errors import MissingExtraError, ModelError
from clinlm.engines.base import ONNX, Answer, Engine, Logits, Rows, onnx_engine
from clinlm.engines.open_model import CHECK, FACTS, OpenModel, exported_engine, open_model
from clinlm.engines.served_folder import broken, read_facts
from clinlm.metrics.hardware import processor_here
from clinlm.store.content import write_json
from clinlm.store.key import digest
from clinlm.tasks.inference_config import InferenceConfig

log = logging.getLogger(__name__)

ENGINES: Final = "engines.json"
"""Of a deployment: engines that may answer from its `model.onnx`. It is not part of its record."""
CHOICE: Final = "engine-"
"""Begins the name of a file with the engine that was chosen on another processor, or with other versions."""
LIMITS: Final = ("largest_difference", "mean_difference")

_ROWS = 4
_PLACES = 8
"""Answers kept of a row, of a tagger."""
_MARGIN = 0.9
"""Share of the exported engine's time that another engine must keep to: smaller differences are noise."""
_ROUNDS, _LONGEST_S = 15, 2.0
_RUNTIMES: Final = ("numpy", "onnxruntime", "openvino", "torch")
"""Packages that engines compute with: with another version of one, a choice is made again."""


@final
class Checked(NamedTuple):
    """Rows of tokens with the answers of an artifact.

    Attributes:
        places: of the kept answers in each row; empty for a model that answers whole rows.
        logits: of all rows, one after another.
    """

    rows: Sequence[Int32[np.ndarray, " tokens"]]
    places: Sequence[Sequence[int]]
    logits: Float[np.ndarray, "units outputs"]

    @classmethod
    def of(cls, answer: Answer, tokens: Sequence[int], max_tokens: int, by_token: bool) -> Self:
        """Return random rows of several lengths, up to the longest, with answers.

        Args:
            answer: of the artifact.
            tokens: that a note may have.
        """
        draw = np.random.default_rng(0)
        lengths = [max(1, max_tokens * (number + 1) // _ROWS) for number in range(_ROWS)]
        rows = [draw.choice(np.array(tokens, np.int32), length) for length in lengths]
        own = [sorted({*np.linspace(0, length - 1, _PLACES).astype(int).tolist()}) for length in lengths]
        made = cls(rows, own if by_token else [[] for _ in rows], np.empty((0, 0), np.float32))
        return made._replace(logits=made.answers(answer))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `save` wrote."""
        found = load_file(folder / CHECK)
        rows, places = (_parted(found[name], found[f"{name}_lengths"]) for name in ("input_ids", "places"))
        return cls(rows, [own.tolist() for own in places], found["logits"])

    def save(self, folder: Path) -> None:
        """Write a few kilobytes into `folder`."""
        state = {"logits": np.ascontiguousarray(self.logits, np.float32)}
        for name, parts in (("input_ids", self.rows), ("places", self.places)):
            state[name] = np.concatenate([np.asarray(part, np.int32) for part in parts])
            state[f"{name}_lengths"] = np.array([len(part) for part in parts], np.int32)
        save_file(state, folder / CHECK)

    def batches(self) -> Iterator[tuple[Rows, Rows]]:
        """Yield token ids and mask of one row after another."""
        for row in self.rows:
            ids = row.astype(np.int64)[None]
            yield ids, np.ones_like(ids)

    def answers(self, answer: Answer) -> Float[np.ndarray, "units outputs"]:
        """Return the logits that an engine has for the rows, where answers are kept."""
        found: list[Logits] = [answer(*batch)[0] for batch in self.batches()]
        kept = [logits[own] if len(own) else logits[None] for logits, own in zip(found, self.places, strict=True)]
        return np.concatenate(kept)

    def broken(self, answer: Answer, config: InferenceConfig, limits: Mapping[str, float]) -> str:
        """Return by how much an engine answers otherwise than the artifact; "" within the limits.

        Args:
            limits: `largest_difference` and `mean_difference` of a probability.

        Raises:
            ModelError: the answers are of another shape.
        """
        own = self.answers(answer)
        if own.shape != self.logits.shape:
            raise ModelError(f"answers must have the shape {own.shape}, got {self.logits.shape}")
        gaps = np.abs(config.probabilities(own) - config.probabilities(self.logits))
        found = {"largest_difference": float(gaps.max()), "mean_difference": float(gaps.mean())}
        # NaN is within no limit.
        wrong = [name for name, limit in limits.items() if not found[name] <= limit]
        return ", ".join(f"{name.replace('_', ' ')} {found[name]:.4f} (at most {limits[name]})" for name in wrong)


@final
class _Deployment(NamedTuple):
    """What is known of a deployment that can be checked: engines that may answer, the exported one first."""

    folder: Path
    facts: Mapping[str, Any]
    identity: str
    engines: Mapping[str, Engine]

    @classmethod
    def of(cls, folder: Path, facts: Mapping[str, Any]) -> Self:
        with broken(folder / FACTS):
            identity = digest(facts)  # no NaN
        exported = exported_engine(folder, facts)
        offered = _noted(folder / ENGINES, identity).get("engines")
        # A file that is not part of the record names no class to import, and no file but `model.onnx`.
        offered = offered if isinstance(offered, list) and exported.files == (ONNX,) else []
        names = sorted({one for one in offered if isinstance(one, str)} - {exported.name})
        others = [engine for engine in map(onnx_engine, names) if engine is not None]
        return cls(folder, facts, identity, {engine.name: engine for engine in (exported, *others)})

    @property
    def exported(self) -> str:
        return next(iter(self.engines))

    @property
    def limits(self) -> Mapping[str, float]:
        """Limits of the differences of probabilities from the artifact's."""
        with broken(self.folder / FACTS, "have the limits of its export"):
            return {name: float(self.facts["limits"][name]) for name in LIMITS}

    def chosen(self, here: Mapping[str, str], able: Collection[str]) -> str | None:
        """Return which of the engines was chosen on this processor with these versions; None for none."""
        noted = (str(_noted(place, digest([self.identity, here])).get("chosen")) for place in self._places(here))
        return next((name for name in noted if name in able), None)

    def remember(self, here: Mapping[str, str], name: str, able: Collection[str]) -> tuple[str, Path] | None:
        """Note the choice on this processor with these versions, unless another process has; return what is noted now.

        Whoever is first decides, so that all processes answer alike. None where nothing can be written.
        """
        own = digest([self.identity, here])
        for place in self._places(here):
            try:
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write_first(place, _with_digest({"chosen": name, **here}, own))
            except OSError:
                continue
            noted = str(_noted(place, own).get("chosen"))
            if noted in able:
                return noted, place
        return None

    def _places(self, here: Mapping[str, str]) -> list[Path]:
        """Return the files in which a choice is noted: in the folder, and in the user's cache."""
        places = [self.folder / f"{CHOICE}{digest(here)}.json"]
        with contextlib.suppress(RuntimeError):  # a user without a home
            root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            places.append(root / "clinlm" / "engines" / f"{digest([self.identity, here])}.json")
        return places


def _circumstances(processor: str) -> dict[str, str]:
    """Return what a choice holds for: the processor, and the versions of what computes on it, without importing it."""
    found = {"processor": processor}
    for package in _RUNTIMES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _parted(values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


def beside_record(name: str) -> bool:
    """Return whether a file of a deployment is written or replaced after its record, as a choice is."""
    return name.lstrip(".").startswith((ENGINES, CHOICE))


def _with_digest(content: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """Return what is written beside a record: with a digest that is another in another deployment."""
    return {**content, "digest": digest([identity, content])}


def _noted(path: Path, identity: str) -> Mapping[str, Any]:
    """Return what was written beside a record; nothing, and a warning, where it is something else."""
    try:
        if path.is_symlink():
            raise ModelError("it is a link")
        if not path.exists():
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("digest") == digest([identity, content]):
            return dict(content)
        raise ModelError("it is not what was written there")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ModelError) as error:
        said = str(error) if isinstance(error, ModelError) else f"it cannot be read ({type(error).__name__})"
        log.warning("%s is not used: %s; delete it", path, said)
        return {}


def _write_first(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file unless there is one already; never a part of one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        try:
            os.link(draft, path)
        except OSError:
            if not path.exists():  # a file system without links
                os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def offer_engines(deployments: Mapping[str, Path]) -> None:
    """Note in deployments of one artifact which of their engines may answer from their file.

    A store that cannot be written to keeps what it has; the log says so.

    Args:
        deployments: name of an engine -> folder, all of which passed the checks of an export.
    """
    facts = {name: read_facts(folder / FACTS) for name, folder in deployments.items()}
    able = sorted(name for name, own in facts.items() if own.get("files") == [ONNX] and own.get("limits"))
    for name in able if len(able) > 1 else []:
        place, wanted = deployments[name] / ENGINES, _with_digest({"engines": able}, digest(facts[name]))
        if _noted(place, digest(facts[name])).get("engines") != able:
            try:
                write_json(place, wanted)
            except OSError as error:
                log.info("no %s in %s: %s", ENGINES, place.parent.name, error.strerror)


def open_here(folder: Path, threads: int | None = None) -> OpenModel:
    """Return the model of an artifact or a deployment, on the engine that is fastest on this processor.

    On the processor of the export, with its version of the engine, that is the engine of the deployment. Elsewhere, the
    engines that may answer are timed for a few seconds, and their answers compared with the artifact's, by the limits
    of the export. The choice is noted in the folder, or where that cannot be written, in the user's cache; where
    neither can be written, the exported engine answers, if it does so as the artifact. Deployments with nothing to
    compare with, among them those of earlier versions, are opened as they are; the log says so where the export names
    another processor.

    Raises:
        ModelError: no engine answers within the limits on this processor.
        Others: see `open_model`.
    """
    facts = read_facts(folder / FACTS) if (folder / FACTS).is_file() else {}
    processor = processor_here()
    if not facts.get("limits"):
        if facts.get("processor", processor) != processor:
            log.warning(
                "%s was exported on %s, this is %s: it holds no answers to compare with, so its answers are not "
                "checked here; run its pipeline here, so that it is exported again",
                folder.name,
                facts["processor"],
                processor,
            )
        return open_model(folder, threads)
    if processor == facts.get("processor") and _as_exported(folder, facts):
        return open_model(folder, threads)
    made, here = _Deployment.of(folder, facts), _circumstances(processor)
    installed = [name for name, engine in made.engines.items() if not engine.missing()]
    if not installed:
        return open_model(folder, threads)
    chosen = made.chosen(here, installed)
    return (
        _choose(made, installed, here, threads) if chosen is None else open_model(folder, threads, made.engines[chosen])
    )


def _as_exported(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether the engine of a deployment is installed in the version that exported it."""
    engine = exported_engine(folder, facts)
    if engine.missing():
        return False
    with broken(folder, f"be of an engine that has a version here (engine={engine.name})"):
        return engine.version() == facts.get("version")


def _choose(made: _Deployment, installed: Sequence[str], here: Mapping[str, str], threads: int | None) -> OpenModel:
    """Return the model on the fastest of the installed engines that answer as the artifact, and note the choice."""
    opened, refused, checked = _checked_here(made, installed, threads)
    there = f"{made.facts.get('processor')} with {made.exported} {made.facts.get('version')}"
    this = f"{here['processor']} with {', '.join(f'{name} {here[name]}' for name in _RUNTIMES if name in here)}"
    if not opened:
        raise ModelError(
            f"{made.folder} must answer on this processor as its artifact does, got "
            f"{'; '.join(f'{name}: {wrong}' for name, wrong in refused.items())}; it was exported on "
            f"{there}, this is {this}: run its pipeline here, so that it is exported again"
        )
    times = processor_ms({name: model.answer for name, model in opened.items()}, checked) if len(opened) > 1 else {}
    best = fastest_engine(times, made.exported) if times else next(iter(opened))
    noted = made.remember(here, best, opened)
    # Not noted, it would be chosen again by every worker, perhaps otherwise: the first that may answer does.
    best = next(iter(opened)) if noted is None else noted[0]
    told = [f"{name} {spent:.3g} ms" for name, spent in times.items()]
    told += [f"{name} refused: {wrong}" for name, wrong in refused.items()]
    log.info(
        "%s was exported on %s, this is %s: answers are checked, %s answers%s; %s",
        made.folder.name,
        there,
        this,
        best,
        f" ({', '.join(told)} of processor time for the same rows)" if told else "",
        f"noted in {noted[1]}" if noted else "not noted: neither the folder nor the user's cache can be written",
    )
    return opened[best]


def _checked_here(
    made: _Deployment, installed: Sequence[str], threads: int | None
) -> tuple[dict[str, OpenModel], dict[str, str], Checked]:
    """Return the models that answer as the artifact on this processor, why others do not, and what was compared.

    Raises:
        ModelError: none can be opened, whatever it answers.
    """
    opened, refused, errors = dict[str, OpenModel](), dict[str, str](), list[Exception]()
    for name in installed:
        try:
            model = open_model(made.folder, threads, made.engines[name])  # verifies the folder
            with broken(made.folder / CHECK, "hold rows with the artifact's answers"):
                checked = Checked.load(made.folder)
                refused[name] = checked.broken(model.answer, model.inference_config, made.limits)
        except (ModelError, MissingExtraError) as error:
            errors.append(error)
            refused[name] = str(error)
        if not refused[name]:
            opened[name] = model
            del refused[name]
    if not opened and len(errors) == len(installed):
        raise errors[0]
    return opened, refused, checked


def fastest_engine(times: Mapping[str, float], exported: str) -> str:
    """Return the engine that needs least time, the exported one unless another is clearly faster.

    Args:
        times: by engine, in any unit.
    """
    best = min(times, key=times.__getitem__)
    own = times.get(exported)
    return best if own is None or times[best] <= _MARGIN * own else exported


def processor_ms(answers: Mapping[str, Answer], checked: Checked) -> dict[str, float]:
    """Return how many milliseconds of processor time engines need for all rows: medians of rounds in turn."""
    spent: dict[str, list[float]] = {name: [] for name in answers}
    batches, until = [*checked.batches()], time.monotonic() + _LONGEST_S
    while len(spent[next(iter(spent))]) < 3 or (len(spent[next(iter(spent))]) < _ROUNDS and time.monotonic() < until):
        for name, answer in answers.items():
            start = time.process_time_ns()
            for batch in batches:
                answer(*batch)
            spent[name].append((time.process_time_ns() - start) / 1e6)
    return {name: float(np.median(own)) for name, own in spent.items()}
