"""Latencies in the store: what was measured on this processor with these versions is shown again, all rows or none."""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self, final

from clinlm.config.errors import DataError
from clinlm.engines.open_model import open_model
from clinlm.metrics.hardware import own_processor
from clinlm.metrics.latency import BUSY, Latency, load_now, measure
from clinlm.metrics.term_model import linked_logits
from clinlm.predict import note_answer
from clinlm.predict.cascade import CascadeAnswer
from clinlm.report.results import ModelResult, decode_latency, json_value
from clinlm.store.content import read_digested, write_digested
from clinlm.store.key import cache_key

log = logging.getLogger(__name__)

_MEASURED = (
    *(measure, open_model, linked_logits),
    *(note_answer.NetworkAnswer, note_answer.TermsAnswer, note_answer.EnsembleAnswer, note_answer.network_answer),
    CascadeAnswer,
)
_ENGINES: Final = (
    *("folded.Folded", "onnxruntime.Onnxruntime", "openvino.Openvino"),
    *("torch.Torch", "torch_compiled.TorchCompiled"),
)
CODE: Final = (
    *(f"{own.__module__}.{own.__qualname__}" for own in _MEASURED),
    *(f"clinlm.engines.{name}" for name in _ENGINES),
)
"""Code whose change makes other latencies; engines by name, as they are imported where they run only."""

_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What decides, with the cores, how many threads a network computes with; `share_cores` sets the first."""
_PACKAGES: Final = (
    *("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn"),
    *("onnxruntime", "openvino", "numba"),
)


@final
@dataclass(frozen=True)
class LatencySession:
    """The measurement of all rows of one comparison: in turn, in one process, on the same documents.

    Speed-ups compare rows that were measured together. So a session is found only for exactly the same rows; they are
    known by what they run, as names differ between a run and a sweep.

    Attributes:
        path: of its file; the name is the key of everything that a latency depends on, besides the load.
        rows: name of a row -> what it runs: a folder of the store, or the members of an ensemble.
    """

    path: Path
    rows: Mapping[str, str]

    @classmethod
    def of(
        cls,
        root: Path,
        results: Sequence[ModelResult],
        texts: Sequence[str],
        reference: str,
        settings: Mapping[str, Any],
    ) -> Self:
        """Return the session, measured or not.

        Args:
            root: the store.
            results: of the rows that are timed.
            texts: the documents.
            reference: name of the row that speed-ups refer to.
            settings: of the measurement.
        """
        rows = {own.name: _identity(own) for own in results}
        here = [*own_processor(), *(os.environ.get(name) for name in _THREADS)]  # not of torch: it would be imported
        inputs = [sorted(rows.values()), rows[reference], list(texts), here, _versions()]
        return cls(root / "latencies" / f"{cache_key(settings, *inputs, code=CODE)}.json", rows)

    def read(self) -> dict[str, Latency] | None:
        """Return the latencies by name of a row.

        None where they were not measured, where the file is not the one that was written there, and where other
        processes disturbed the measurement and leave the machine alone now.
        """
        if not self.path.is_file():
            return None
        try:
            content = read_digested(self.path)
            found = {name: decode_latency(content[identity]) for name, identity in self.rows.items()}
        except (DataError, KeyError, TypeError) as damage:
            log.warning("%s; measuring again", damage if isinstance(damage, DataError) else f"{self.path} lacks rows")
            return None
        if any(own.disturbed for own in found.values()):
            load = load_now()
            if load is not None and load <= BUSY:
                return None
        when = next((own.hardware.date for own in found.values() if own.hardware), "an earlier day")
        log.info("latencies are those of %s; report.latency=again measures them again", when)
        return found

    def write(self, times: Mapping[str, Latency]) -> None:
        """Keep what was measured, in place of what was kept before; not in a store that cannot be written to."""
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            write_digested(self.path, {self.rows[name]: json_value(own) for name, own in times.items()})
        except OSError as error:
            log.info("latencies are not kept in %s: %s", self.path.parent, error.strerror)


def _identity(result: ModelResult) -> str:
    folder = result.deployment.get("folder")
    return f"{result.kind} {result.key}" if folder is None else f"deployment {Path(folder).name}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
