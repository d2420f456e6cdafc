"""The command `clinlm predict artifact=FOLDER input=FILE output=FILE`."""

from clinlm.config.errors import MissingFileError
from clinlm.config.extras import imported
from clinlm.config.ray_cluster import load_ray
from clinlm.files.shards import shards
from clinlm.files.sources import STANDARD, open_source
from clinlm.predict.journal import ENDING, is_complete
from clinlm.predict.settings import PredictSettings
from clinlm.predict.stream import check_folders, require_answers


def predict_command(arguments: list[str]) -> None:
    """Run `clinlm predict`."""
    settings = PredictSettings.of(arguments)
    _check_paths(settings)

    # Here, so that help, wrong settings and wrong paths need not wait for it.
    from clinlm.predict.model_answerer import predict_file, predict_files, show_predictions

    if settings.per_file:
        files = predict_files(settings)
        show_predictions(settings, files.done, not files.fresh, files.files)
        require_answers(settings, files.done)
        return
    before = settings.resumable and is_complete(settings.beside(ENDING))
    done = predict_file(settings)
    show_predictions(settings, done, before)
    require_answers(settings, done)


def _check_paths(settings: PredictSettings) -> None:
    """Check that all paths exist and that the input has the columns.

    Raises:
        MissingFileError, DataError: a path is wrong, or a column is missing.
    """
    if settings.on == "ray":
        load_ray(settings.address)
    elif settings.on == "spark":
        imported("pyspark", "spark")
    check_folders(settings)
    if settings.input != STANDARD:
        first = shards(settings.input, "input")[0] if settings.per_file else settings.input
        open_source(first, settings.text, settings.id, settings.encoding)
    for name, folder in (("artifact", settings.artifact), ("shadow", settings.shadow)):
        if folder is not None and not folder.is_dir():
            raise MissingFileError(
                f"{name} must be the folder of an artifact or of a deployment, got {folder}, which is no folder; set "
                "it to the path that a run prints after artifact, deployed or tfidf"
            )
