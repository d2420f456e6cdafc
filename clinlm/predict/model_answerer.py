"""Answers a file of notes with a model, and with its shadow if there is one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, final

from rich import box
from rich.console import Console
from rich.table import Table

from clinlm.config.console import make_console
from clinlm.config.runtime import Stopwatch
from clinlm.engines.selection import beside_record
from clinlm.engines.served_folder import broken, read_serving
from clinlm.files.record import Record
from clinlm.files.sources import STANDARD, file_identity, open_source
from clinlm.metrics.prediction_sets import at_coverage
from clinlm.predict.comparison import Comparison
from clinlm.predict.journal import ENDING, Progress
from clinlm.predict.model_runner import open_head
from clinlm.predict.note_models import NoteAnswers, NoteModels
from clinlm.predict.note_workers import NoteWorkers, waited
from clinlm.predict.predictions import Row, join_predictions
from clinlm.predict.ray_workers import answered_by_ray
from clinlm.predict.settings import PredictSettings
from clinlm.predict.shard_run import Outcome, ShardJob, ShardTotals, run_job, run_shards
from clinlm.predict.sinks import CsvSink, JsonLinesSink, ParquetSink, Sink
from clinlm.predict.spark_workers import answered_by_spark
from clinlm.predict.stream import AnswerCounts, Answerer, Pending, check_folders, stream
from clinlm.store.content import RECORD, read_record, sealed, sha256
from clinlm.store.key import digest

N = TypeVar("N", int, float)

NOTES_TOGETHER = 64
"""Notes answered together: a worker is given several at once, and the progress is shown after them."""

_PATIENCE_S = 1.0
"""Starting workers takes about as long."""

SHOWN_LABELS = 20
"""Labels in the printed table of a shadow, those that agree least; the file has all."""


def predict_file(settings: PredictSettings) -> Progress:
    """Answer every note of the input that is not answered yet; return the progress over all attempts.

    Raises:
        ConfigError, DataError: a file is missing or malformed; the models have different labels.
    """
    check_folders(settings)
    source = open_source(settings.input, settings.text, settings.id, settings.encoding)
    promises = model_promises(settings)
    if settings.resumable:
        promises["input"] = file_identity(settings.input)
    return stream(settings, source, promises, lambda begun: ModelAnswerer(settings, begun))


def predict_files(settings: PredictSettings) -> ShardTotals:
    """Answer every file of the input that is not answered yet, here or by workers of a cluster; see `run_shards`."""

    def distribute(jobs: Sequence[ShardJob[PredictSettings]]) -> Iterator[tuple[ShardJob[PredictSettings], Outcome]]:
        if settings.on is None:
            return ((job, run_job(job, settings.threads)) for job in jobs)
        answered = answered_by_ray if settings.on == "ray" else answered_by_spark
        return answered(jobs, settings.address, settings.threads)

    return run_shards(settings, model_promises(settings), predict_file, distribute)


def model_promises(settings: PredictSettings) -> dict[str, Any]:
    """Return what decides the answers to a file besides the file, by name; see `stream`.

    Raises:
        MissingFileError, ModelError: there is no model, or one without sets at the coverage.
    """
    models = {"artifact": settings.artifact, "shadow": settings.shadow}
    promises: dict[str, Any] = {name: None if folder is None else _identify(folder) for name, folder in models.items()}
    promises |= {name: getattr(settings, name) for name in ("text", "id", "window", "batch_tokens")}
    optional = {"encoding": settings.encoding, "coverage": settings.coverage}
    promises |= {name: value for name, value in optional.items() if value is not None}
    if settings.coverage is not None:
        for folder in filter(None, models.values()):
            at_coverage(read_serving(folder).conformal, settings.coverage, str(folder))
    return promises


@final
class ModelAnswerer(Answerer):
    """Answers notes with a model, and with its shadow if there is one.

    The first notes are answered in this process. A run that takes longer than `_PATIENCE_S`, on several cores, then
    starts workers: most files are answered sooner than they start.

    Raises:
        ConfigError: the models have different labels.
    """

    no_answer = "the model has no answer: no token that it knows, or no finite number"

    def __init__(self, settings: PredictSettings, begun: Progress) -> None:
        self._threads, self.lookahead = settings.threads, int(settings.threads > 1)
        self._opening = settings.artifact, settings.shadow, settings.batch_tokens, settings.coverage
        self._models = NoteModels(*self._opening)
        self._workers: NoteWorkers | None = None
        self._watch = Stopwatch()
        self._predicted, self._totals = begun.predicted, begun.totals
        self._comparison = self._models.head.comparison(begun.shadow) if settings.shadow is not None else None

    def refuse(self, text: str) -> str:
        return self._models.refuse(text)

    def begin(self, notes: Sequence[Record]) -> Pending:
        texts = [str(note.text) for note in notes]
        parts = [texts[start : start + NOTES_TOGETHER] for start in range(0, len(texts), NOTES_TOGETHER)]
        futures = [] if self._workers is None else [self._workers.submit(part) for part in parts]
        return lambda show: self._finish(parts[len(futures) :], futures, show)

    def counts(self) -> AnswerCounts:
        shadow = None if self._comparison is None else self._comparison.counts()
        return AnswerCounts(self._predicted, self._totals, shadow)

    def open_sink(self, path: Path, position: int) -> Sink:
        if path.suffix not in (".csv", ".parquet"):
            return JsonLinesSink(path, position)
        return (CsvSink if path.suffix == ".csv" else ParquetSink)(path, position, self._models.schema())

    def reports(self) -> Mapping[str, Any]:
        return {} if self._comparison is None else {".shadow.json": self._comparison.summary()}

    def close(self) -> None:
        if self._workers is not None:
            self._workers.close()

    def _finish(
        self, parts: Sequence[Sequence[str]], futures: list["Future[NoteAnswers]"], show: Callable[[int], None]
    ) -> list[Row | None]:
        """Answer what no worker was given, wait for the rest, and count.

        Args:
            parts: of the window, that no worker was given.
            futures: of the parts before them.
        """
        answers = list[NoteAnswers]()
        for part in parts:
            waits = self._workers is None and self._threads > 1 and self._watch.seconds() > _PATIENCE_S
            if waits and NoteWorkers.can_start():
                self._workers = NoteWorkers(self._threads, self._opening)
                self._models.let_go()
            if self._workers is None:
                answers.append(self._models.answer(part))
                show(sum(len(own.rows) for own in answers))
            else:
                futures.append(self._workers.submit(part))
        for future in futures:
            answers.append(waited(future))
            show(sum(len(own.rows) for own in answers))
        for own in answers:
            self._predicted = _add(self._predicted, own.predicted)
            self._totals = _add(self._totals, own.totals)
        if self._comparison is not None and answers:
            self._comparison.add(
                *(join_predictions(models) for models in zip(*(own.models for own in answers), strict=True))
            )
        return [row for own in answers for row in own.rows]


def _add(before: Mapping[str, N], new: Mapping[str, N]) -> dict[str, N]:
    return {name: before[name] + count if name in before else count for name, count in new.items()}


def _identify(folder: Path) -> str:
    """Return a digest of all files of a model, from its record where it has one."""
    read_serving(folder)  # raises where the folder holds no model
    if sealed(folder):
        with broken(folder / RECORD):
            return str(read_record(folder)["digest"])
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not beside_record(path.name))
    return digest({str(path.relative_to(folder)): sha256(path) for path in paths})


def show_predictions(settings: PredictSettings, done: Progress, before: bool = False, files: int = 0) -> None:
    """Print what was done; to standard error where the answers go to standard output.

    Args:
        before: whether an earlier command had answered everything, so that this one did nothing.
        files: number of files of the input, where each has answers of its own.
    """
    console = Console(stderr=True, width=120) if settings.output == STANDARD else make_console()
    rate = done.documents / done.seconds if done.seconds else 0.0
    if before:
        console.print(
            f"finished   before: the same command has answered every note; nothing was done (delete {settings.output}"
            f"{'' if files else f' and {settings.beside(ENDING).name}'} to answer them again)",
            soft_wrap=True,
            markup=False,
        )
    console.print(
        f"documents  {done.documents:,} in {done.seconds:,.1f} s, {rate:,.1f} per second, {settings.threads} threads"
    )
    if files:
        console.print(f"files      {files:,}, each with answers of its own")
    config = read_serving(settings.artifact)
    if config.alone:
        console.print("batches    none: a quantised model rounds its inputs, so every note is read alone")
    where = f", see {settings.rejects}" if done.rejects else ""
    console.print(f"rejects    {done.rejects:,}{where}", soft_wrap=True)
    counts = sorted(done.predicted.items(), key=lambda item: -item[1])
    console.print(f"predicted  {', '.join(f'{label} {n:,}' for label, n in counts)}", soft_wrap=True, markup=False)
    head = open_head(config, settings.coverage)
    for line in head.describe(done.totals):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if done.shadow is not None:
        _show_comparison(console, head.comparison(done.shadow))
        if settings.output != STANDARD:
            console.print(f"shadow     {settings.beside('.shadow.json')}", soft_wrap=True)
    if settings.output != STANDARD:
        console.print(f"output     {settings.output}", soft_wrap=True)


def _show_comparison(console: Console, comparison: Comparison[Any]) -> None:
    summary = comparison.summary()
    drift = summary["drift"]
    console.print(f"agreement  {comparison.headline(summary['agreement'])}", soft_wrap=True)
    table = Table("label", *comparison.headings, "drift", "of shadow", box=box.SIMPLE)
    for label, values in sorted(summary["labels"].items(), key=lambda item: item[1]["agreement"])[:SHOWN_LABELS]:
        indices = ["-", "-"] if drift is None else [_index(drift[model], label) for model in ("artifact", "shadow")]
        table.add_row(label, *comparison.cells(values), *indices)
    console.print(table)
    if drift is None:
        console.print("drift      not tested: all notes are in one window")
        return
    shifted = sorted({*drift["artifact"]["shifted"], *drift["shadow"]["shifted"]})
    labels = f"{', '.join(shifted)} (marked *)" if shifted else "no label"
    console.print(f"drift      since the first window: {labels}; {drift['shifted_if']}", soft_wrap=True, markup=False)


def _index(drift: dict[str, Any], label: str) -> str:
    return f"{drift['labels'][label]['stability']:.3f}{'*' if label in drift['shifted'] else ''}"
