"""Opens a deployment with the engine that is fastest on this processor, once its answers have been checked here.

An export was timed, and compared with its artifact, on one processor. On another, another engine may be faster, and
integers may be multiplied by other instructions: some of them saturate. So a deployment holds a few rows of random
tokens with the artifact's answers (`check.safetensors`), and `engines.json` says which engines answered all documents
of the task within the limits, from the same `model.onnx`.
"""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, final

import numpy as np
from jaxtyping import Float, Int32
from safetensors.numpy import load_file, save_file

from clinlm.config.errors import ModelError
from clinlm.engines.base import ONNX, Answer, Engine, Logits, Rows, engine_names, find_engine, stored_engine
from clinlm.engines.open_model import FACTS, OpenModel, open_model
from clinlm.metrics.hardware import processor_here
from clinlm.store.content import write_json
from clinlm.store.key import digest
from clinlm.tasks.inference_config import InferenceConfig

log = logging.getLogger(__name__)

CHECK: Final = "check.safetensors"
ENGINES: Final = "engines.json"
"""Of a deployment: engines that may answer, and those chosen on other processors. It is not part of its record."""

_ROWS = 4
_PLACES = 8
"""Answers kept of a row, of a tagger."""
_MARGIN = 0.9
"""Share of the exported engine's time that another engine must keep to: smaller differences are noise."""
_ROUNDS, _LONGEST_S = 15, 2.0


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
        """
        gaps = np.abs(config.probabilities(self.answers(answer)) - config.probabilities(self.logits))
        found = {"largest_difference": float(gaps.max()), "mean_difference": float(gaps.mean())}
        # NaN is within no limit.
        wrong = [name for name, limit in limits.items() if not found[name] <= limit]
        return ", ".join(f"{name.replace('_', ' ')} {found[name]:.4f} (at most {limits[name]})" for name in wrong)


@final
class _Choices(NamedTuple):
    """Engines that may answer for a deployment, the exported one first, and those chosen on processors seen before."""

    folder: Path
    facts: Mapping[str, Any]
    engines: Sequence[str]
    chosen: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return what is known of a deployment, in its folder and in the user's cache."""
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        cache = _cache(facts)
        noted = [_noted(path) for path in (folder / ENGINES, cache) if path is not None and path.is_file()]
        others = dict.fromkeys(name for own in noted[:1] for name in own["engines"] if name != facts["engine"])
        # A file that is not part of the record names no class to import.
        able = [name for name in others if name in engine_names() and find_engine(name).reads_onnx]
        chosen = {where: name for own in noted for where, name in own["chosen"].items()}
        return cls(folder, facts, [facts["engine"], *(able if (folder / ONNX).is_file() else [])], chosen)

    def engine(self, name: str) -> Engine:
        return stored_engine(self.facts) if name == self.facts["engine"] else find_engine(name)

    def place(self) -> Path | None:
        """Return the file in which a choice can be remembered; None if there is none."""
        if os.access(self.folder, os.W_OK):
            return self.folder / ENGINES
        cache = _cache(self.facts)
        try:
            if cache is not None:
                cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return None
        return cache if cache is not None and os.access(cache.parent, os.W_OK) else None

    def remember(self, here: str, name: str, place: Path) -> bool:
        """Write the choice on this processor; return whether that was possible."""
        try:
            write_json(place, {"engines": list(self.engines), "chosen": {**self.chosen, here: name}})
        except OSError:
            return False
        return True


def _cache(facts: Mapping[str, Any]) -> Path | None:
    """Return the file of a deployment in the user's cache; None for a user without a home."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return root / "clinlm" / "engines" / f"{digest(facts)}.json"


def _noted(path: Path) -> dict[str, Any]:
    """Return the content of a file of choices; nothing, and a notice, where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"engines": [*map(str, content["engines"])], "chosen": {**content["chosen"]}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is not used: it cannot be read (%s); delete it", path, type(error).__name__)
        return {"engines": [], "chosen": {}}


def _parted(values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


def offer_engines(deployments: Mapping[str, Path]) -> None:
    """Note in deployments of one artifact which of their engines may answer from their file.

    Args:
        deployments: name of an engine -> folder, all of which passed the checks of an export.
    """
    able = [
        name
        for name, folder in deployments.items()
        if name in engine_names() and find_engine(name).reads_onnx and (folder / ONNX).is_file()
    ]
    for name in able if len(able) > 1 else []:
        folder = deployments[name]
        if (folder / CHECK).is_file() and {*_Choices.of(folder).engines} != {*able}:
            write_json(folder / ENGINES, {"engines": able, "chosen": {}})


def open_here(folder: Path, threads: int | None = None) -> OpenModel:
    """Return the model of an artifact or a deployment, on the engine that is fastest on this processor.

    On the processor of the export, that is the engine of the deployment. On another, the engines that may answer are
    timed for a few seconds, and their answers compared with the artifact's, by the limits of the export. The choice is
    remembered in the folder, or where that cannot be written, in the user's cache; where neither can be written, only
    answers are checked.

    Raises:
        ModelError: no engine answers within the limits on this processor.
        Others: see `open_model`.
    """
    if not (folder / CHECK).is_file():
        return open_model(folder, threads)
    choices, here = _Choices.of(folder), processor_here()
    exported = choices.facts["engine"]
    installed = [name for name in choices.engines if not choices.engine(name).missing()] or [exported]
    if here == choices.facts["processor"] and exported in installed:
        return open_model(folder, threads)
    if choices.chosen.get(here) in installed:
        return open_model(folder, threads, choices.engine(choices.chosen[here]))
    return _choose(folder, threads, choices, installed, here)


def _choose(folder: Path, threads: int | None, choices: "_Choices", installed: Sequence[str], here: str) -> OpenModel:
    exported, place = choices.facts["engine"], choices.place()
    opened, refused = dict[str, OpenModel](), dict[str, str]()
    for name in installed:
        # Timed again by every worker and in every run, engines would be different ones: the first that may answer does.
        if opened and place is None:
            break
        model = open_model(folder, threads, choices.engine(name))  # before anything of the folder is used: it verifies
        checked = Checked.load(folder)
        wrong = checked.broken(model.answer, model.inference_config, choices.facts["limits"])
        if wrong:
            refused[name] = wrong
        else:
            opened[name] = model
    if not opened:
        raise ModelError(
            f"{folder.name} must answer on this processor as its artifact does, got "
            f"{'; '.join(f'{name}: {wrong}' for name, wrong in refused.items())}; it was exported on "
            f"{choices.facts['processor']}, this is {here}: run its pipeline here, so that it is exported again"
        )
    times = processor_ms({name: model.answer for name, model in opened.items()}, checked) if len(opened) > 1 else {}
    best = fastest_engine(times, exported) if times else next(iter(opened))
    if place is not None and not choices.remember(here, best, place):
        place = None
    told = [f"{name} {spent:.3g} ms" for name, spent in times.items()]
    told += [f"{name} refused: {wrong}" for name, wrong in refused.items()]
    log.info(
        "%s was exported on %s, this is %s: answers are checked, %s answers%s; %s",
        folder.name,
        choices.facts["processor"],
        here,
        best,
        f" ({', '.join(told)} of processor time for the same rows)" if told else "",
        f"remembered in {place}" if place else "not remembered: neither the folder nor the user's cache can be written",
    )
    return opened[best]


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
