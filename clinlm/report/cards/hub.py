"""`clinlm report hf`: the model of a run as a folder that transformers opens."""

from pathlib import Path

from clinlm.config.errors import ConfigError
from clinlm.engines.hugging_face import write_hub_folder
from clinlm.models.artifact import CARD
from clinlm.report.cards.clinical import clinical_facts
from clinlm.report.cards.model_card import model_card
from clinlm.report.command import refuse_others
from clinlm.report.terminal import shown_path
from clinlm.report.written import WrittenReport
from clinlm.store.content import write_files


def hub_command(folder: Path, settings: dict[str, str]) -> list[str]:
    """Write hf/, a folder with the model card that transformers opens (AutoModel), where it has the architecture.

    Settings: `model`, the name of a row of the table (the last one of a run, the best on validation of a sweep);
    `output`, a folder, else `hf` in that of the report.

    Raises:
        ConfigError: the row has no artifact, or `output` exists and is not empty.
        ModelError: transformers has no such architecture.
    """
    refuse_others(settings, ("model", "output"))
    facts = clinical_facts(WrittenReport.read(folder), settings.get("model"))
    if facts.own_artifact is None:
        raise ConfigError(f"model= must be a row with an artifact, got {facts.result.name!r}; TF-IDF is no network")
    place = Path(settings.get("output", folder / "hf"))
    written = write_hub_folder(facts.own_artifact.folder, place)
    write_files(place, {CARD: model_card(facts)})
    return [
        f"hf         {shown_path(place)}: {facts.name}",
        f"open       {written.line()}",
        f"checked    logits differ from the artifact's by at most {written.difference:.1g}"
        + (
            "; pooling and head are code in the folder, the encoder alone needs none (AutoModel)"
            if written.code
            else ""
        ),
    ]
