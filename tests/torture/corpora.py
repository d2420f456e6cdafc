"""Valid files of corpora that lie in several files, to be broken one at a time."""

import json
from pathlib import Path
from typing import Final

from clinlm.corpora.base import Corpus
from clinlm.corpora.fhir.fhir import Fhir
from clinlm.corpora.i2b2.i2b2_concepts import I2b2Concepts
from clinlm.corpora.i2b2.i2b2_obesity import I2b2Obesity
from clinlm.corpora.i2b2.i2b2_smoking import I2b2Smoking
from clinlm.corpora.label_studio import LabelStudio
from clinlm.corpora.mimic.mimic3_outcomes import Mimic3Outcomes
from clinlm.corpora.mimic.mimic4_notes import Mimic4Notes
from clinlm.corpora.mimic.mimic4_outcomes import Mimic4Outcomes
from clinlm.corpora.mtsamples import MTSamples
from clinlm.corpora.omop.omop import Omop
from clinlm.corpora.synthetic.fhir_resources import SyntheticFhir
from clinlm.corpora.synthetic.mimic4_tables import SyntheticMimic4
from clinlm.corpora.synthetic.omop_tables import SyntheticOmop
from clinlm.corpora.synthetic.outcome_tables import SyntheticOutcomeTables

_SMOKING: Final = (
    '<ROOT><RECORD ID="1"><SMOKING STATUS="SMOKER"/><TEXT>he smokes two packs a day &amp; more</TEXT></RECORD>'
    '<RECORD ID="2"><SMOKING STATUS="UNKNOWN"/><TEXT>fever and cough since monday</TEXT></RECORD></ROOT>'
)
_OBESITY: Final = (
    '<root><docs><doc id="1"><text>a note of gout</text></doc><doc id="2"><text>no gout at all</text></doc></docs>'
    '<diseases source="intuitive"><disease name="Gout"><doc id="1" judgment="Y"/><doc id="2" judgment="N"/></disease>'
    "</diseases></root>"
)
_CONCEPTS: Final = {
    "a.txt": "One two\nthree of the toes hurt",
    "a.con": 'c="two three" 1:1 2:0||t="problem"\nc="one" 1:0 1:0||t="test"\n',
}
_TASKS: Final = [
    {
        "id": number,
        "data": {"text": "iron pill and 😀 pain"},
        "annotations": [
            {"result": [{"type": "labels", "value": {"start": 0, "end": 4, "text": "iron", "labels": ["A"]}}]}
        ],
    }
    for number in range(3)
]
_SAMPLES: Final = (
    "sample_id,medical_specialty,sample_name,description,transcription,keywords\n"
    '1, Surgery,x,x,"a note, in quotes",x\n2,Urology,x,x,another note of pain,x\n1,Urology,x,x,"a note, in quotes",x\n'
)


def corpora(place: Path) -> list[tuple[str, Corpus, Path]]:
    """Return name, corpus and the folder of its files, which are written; `place` is a new folder."""
    found = small_corpora(place)
    omop = SyntheticOmop(place / "omop", patients=8).tables()
    fhir = SyntheticFhir(place / "fhir", patients=8).tables()
    fourth = SyntheticMimic4(place / "fourth", patients=8).tables()
    SyntheticOutcomeTables(12, 0).write(_new(place / "outcomes"))
    found += [("omop", Omop(omop), omop), ("fhir", Fhir(fhir), fhir), ("mimic4", Mimic4Notes(fourth), fourth)]
    found += [("mimic4 outcomes", Mimic4Outcomes(fourth, "mortality"), fourth)]
    outcomes = place / "outcomes"
    found += [("mimic3 outcomes", Mimic3Outcomes(outcomes, "diagnoses_3digit", "strict"), outcomes)]
    return found


def small_corpora(place: Path) -> list[tuple[str, Corpus, Path]]:
    """Return those that are read in a millisecond."""
    place.mkdir()
    small = {
        "smoking": (I2b2Smoking(place / "smoking" / "smokers.xml"), {"smokers.xml": _SMOKING}),
        "obesity": (I2b2Obesity(place / "obesity"), {"records.xml": _OBESITY}),
        "concepts": (I2b2Concepts(place / "concepts"), _CONCEPTS),
        "label_studio": (LabelStudio(place / "label_studio" / "export.json"), {"export.json": json.dumps(_TASKS)}),
        "mtsamples": (MTSamples(place / "mtsamples"), {"mtsamples.csv": _SAMPLES}),
    }
    for name, (_, texts) in small.items():
        (place / name).mkdir(parents=True)
        for file, text in texts.items():
            (place / name / file).write_text(text, encoding="utf-8")
    return [(name, corpus, place / name) for name, (corpus, _) in small.items()]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
