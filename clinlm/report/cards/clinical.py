"""`clinlm report clinical`: what the records of a run say to those who decide about its use on a ward."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from clinlm import __version__
from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean
from clinlm.report.cards.chai import chai_card, chai_statements, check_chai
from clinlm.report.cards.change_control import STATUS, change_control
from clinlm.report.cards.facts import ModelFacts
from clinlm.report.cards.item_answer import HOSPITAL, ItemAnswer
from clinlm.report.cards.tripod import tripod_statements
from clinlm.report.cards.tripod_items import TRIPOD_ITEMS
from clinlm.report.command import refuse_others
from clinlm.report.nested import best_on_validation
from clinlm.report.results import ModelResult
from clinlm.report.terminal import shown_path
from clinlm.report.written import WrittenReport
from clinlm.store.content import write_files, write_json

TEXT, DATA, XML = "clinical.md", "clinical.json", "applied_model_card.xml"
TRIPOD: Final = (
    "TRIPOD+AI: Collins et al., BMJ 2024;385:e078378 (doi 10.1136/bmj-2023-078378), a reporting guideline of 2024 that "
    "replaced TRIPOD 2015; 27 items in 52 parts, shortened here"
)
CHAI: Final = (
    "CHAI applied model card: Coalition for Health AI, XML schema v0.2 (https://mc.chai.org/v0.2/schema.xsd), a draft; "
    f"{XML} beside this file holds it"
)


def clinical_command(folder: Path, settings: dict[str, str]) -> list[str]:
    """Write TRIPOD+AI, the CHAI applied model card (XML) and a change control section of one model.

    Settings: `model`, the name of a row of the table (the last one of a run, the best on validation of a sweep);
    `output`, a folder, else that of the report; `schema`, CHAI's schema as a file, to validate by.
    """
    refuse_others(settings, ("model", "output", "schema"))
    facts = clinical_facts(WrittenReport.read(folder), settings.get("model"))
    card = chai_card(facts)
    if "schema" in settings:
        check_chai(card, Path(settings["schema"]))
    place = Path(settings.get("output", folder))
    place.mkdir(parents=True, exist_ok=True)
    statements = ClinicalReport.of(facts)
    write_files(place, {TEXT: statements.markdown(facts), XML: card})
    write_json(place / DATA, statements.to_json(facts))
    counts = statements.counts()
    return [
        f"clinical   {facts.name}: {sum(counts.values())} answers: "
        + ", ".join(f"{count} {status}" for status, count in counts.items()),
        f"report     {shown_path(place / TEXT)} ({DATA}, {XML} in the same folder)",
        *([f"schema     {XML} is valid by {settings['schema']}"] if "schema" in settings else []),
    ]


def clinical_facts(report: WrittenReport, name: str | None) -> ModelFacts:
    """Return the facts about the row `name` of a report; None for the model that the report is about.

    Raises:
        ConfigError: there is no such row, or no model.
    """
    rows = {own.name: own for own in report.results if own.quality}
    if name is not None and name not in rows:
        raise ConfigError(f"model= must be a row of the table, got {name!r}{did_you_mean(name, rows)}")
    chosen = rows[name] if name is not None else _subject(report, list(rows.values()))
    return ModelFacts.of(chosen, report)


def _subject(report: WrittenReport, rows: list[ModelResult]) -> ModelResult:
    """Return the last model of a run, the best on validation of a sweep."""
    models = [own for own in rows if own.kind == "stage"]
    if not models or not report.runs:
        raise ConfigError(f"a clinical report needs a finished model, {report.folder} has none; set model= to a row")
    return best_on_validation(rows, report.runs[0].monitor.removeprefix("val/")) if report.is_sweep else models[-1]


@final
@dataclass(frozen=True)
class ClinicalReport:
    """The answers about one model.

    Attributes:
        tripod: by number of an item.
        chai: by element.
        control: by part of the plan and heading.
    """

    tripod: Mapping[str, ItemAnswer]
    chai: Mapping[str, ItemAnswer]
    control: Mapping[str, Mapping[str, ItemAnswer]]

    @classmethod
    def of(cls, facts: ModelFacts) -> "ClinicalReport":
        """Return the answers that the records give."""
        return cls(tripod_statements(facts), chai_statements(facts), change_control(facts))

    @property
    def statements(self) -> dict[str, ItemAnswer]:
        """Every answer by a name of its own."""
        found = {f"TRIPOD+AI {number}": own for number, own in self.tripod.items()}
        found |= {f"CHAI {element}": own for element, own in self.chai.items()}
        for part, statements in self.control.items():
            found |= {f"{part}: {heading}": own for heading, own in statements.items()}
        return found

    def counts(self) -> dict[str, int]:
        """Return how many answers are of each status."""
        every = [own.status for own in self.statements.values()]
        return {status: every.count(status) for status in dict.fromkeys(sorted(every))}

    def markdown(self, facts: ModelFacts) -> str:
        """Return the text: a summary, TRIPOD+AI, the change control section."""
        items = [
            f"- **{item.number} {item.topic}** ({item.asks}; {item.applies}) – {_shown(self.tripod[item.number])}"
            for item in TRIPOD_ITEMS
        ]
        counts = ", ".join(f"{count} {status}" for status, count in self.counts().items())
        parts = [
            f"# {facts.name}: report for the ward",
            f"Written by clinlm {__version__} from the records of the run. {counts}. What begins with “{HOSPITAL}” "
            "is not known to the software. This report is no advice on regulation.",
            f"## TRIPOD+AI\n\n{TRIPOD}. D is for studies that develop a model, E for those that evaluate one.",
            "\n".join(items),
            f"## Change control\n\n{STATUS}.",
        ]
        for part, statements in self.control.items():
            told = [f"- **{heading}** – {_shown(own)}" for heading, own in statements.items()]
            parts.append(f"### {part}\n\n" + "\n".join(told))
        return "\n\n".join([*parts, f"## Applied model card\n\n{CHAI}."]) + "\n"

    def to_json(self, facts: ModelFacts) -> dict[str, Any]:
        """Return every answer with its status."""
        said = {name: {"status": own.status, "text": own.text} for name, own in self.statements.items()}
        return {"model": facts.name, "sources": {"tripod": TRIPOD, "chai": CHAI, "pccp": STATUS}, "answers": said}


def _shown(own: ItemAnswer) -> str:
    """Return an answer with its status; HTML in names stays text."""
    return f"*{own.status}*: {own.text}".replace("<", "&lt;")
