"""The command `clinlm predict artifact=FOLDER input=FILE output=FILE`."""

from clinlm.config.errors import MissingFileError
from clinlm.files.sources import STANDARD, open_source
from clinlm.predict.journal import ENDING, is_complete
from clinlm.predict.settings import PREDICT_YAML, PredictSettings
from clinlm.predict.stream import check_folders, require_answers

_HELP = """clinlm predict: answer a file of notes with an artifact or a deployment, window by window.

  clinlm predict artifact=outputs/store/student-1a2b3c input=notes.jsonl output=answers.jsonl
  clinlm predict artifact=... input=notes.csv.gz output=answers.parquet text=note id=note_id
  clinlm predict artifact=... input=notes.csv output=answers.csv shadow=outputs/store/teacher-4d5e6f
  zcat notes.jsonl.gz | clinlm predict artifact=... input=- output=- rejects=rejects.jsonl

The output has one answer per note, in the order of the input: id, line, and labels (decided at the saved thresholds)
with probabilities; of a tagger spans: start and end (in characters of the text, end exclusive), label, and probability
(of the least certain word). It contains no text of a note. Records that cannot be read go to the rejects with their
line and the reason; the run continues. A run that was stopped or killed continues with the same command; no line is
lost or written twice. With a shadow both models answer, and OUTPUT.shadow.json compares them: agreement, differences,
drift.
With coverage=0.9 notes also have the set of possible labels, undecided labels, and whether the model abstains.

Settings, KEY=VALUE, with their defaults (??? has none and must be set):
"""


def predict_command(arguments: list[str]) -> None:
    """Run `clinlm predict`, or print its help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        lines = PREDICT_YAML.read_text(encoding="utf-8").splitlines()[1:]
        print(_HELP + "\n".join(f"  {line}" for line in lines))
        return
    settings = PredictSettings.of(arguments)
    _check_paths(settings)

    import transformers  # here and below, so that help, wrong settings and wrong paths need not wait for torch

    from clinlm.predict.model_answerer import predict_file, show_predictions

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    before = settings.resumable and is_complete(settings.beside(ENDING))
    done = predict_file(settings)
    show_predictions(settings, done, before)
    require_answers(settings, done)


def _check_paths(settings: PredictSettings) -> None:
    """Check that all paths exist and that the input has the columns.

    Raises:
        MissingFileError, DataError: a path is wrong, or a column is missing.
    """
    check_folders(settings)
    if settings.input != STANDARD:
        open_source(settings.input, settings.text, settings.id, settings.encoding)
    for name, folder in (("artifact", settings.artifact), ("shadow", settings.shadow)):
        if folder is not None and not folder.is_dir():
            raise MissingFileError(
                f"{name} must be the folder of an artifact or of a deployment, got {folder}, which is no folder; set "
                "it to the path that a run prints after artifact, deployed or tfidf"
            )
