"""Compare readings of `tests/data/assertions.csv`: which mentions are asserted of the patient, now.

python benchmarks/assertion.py [--medspacy PYTHON]

`--medspacy` names the interpreter of an environment with medSpaCy, whose ConText is then measured too (it needs numpy
below 2 on Python 3.11, so it cannot be installed beside clinlm). Triggers were drafted before any was tuned; the even
half of the sentences was looked at while tuning, the odd half only at its end.
"""

import argparse
import csv
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from negspacy.termsets import LANGUAGES
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from clinlm.terminology.mentions import Finder, Mention
from clinlm.text.negation import ConText
from clinlm.text.sentences import Sentence

SENTENCES = Path(__file__).parents[1] / "tests" / "data" / "assertions.csv"

MEDSPACY = """
import json, sys
import medspacy, spacy
from spacy.tokens import Span
nlp = spacy.blank("en")
context = nlp.add_pipe("medspacy_context")
for line in sys.stdin:
    text, places = json.loads(line)
    doc = nlp.make_doc(text)
    for token in doc:
        token.is_sent_start = token.i == 0
    spans = [doc.char_span(a, b, label="SYMPTOM", alignment_mode="expand") for a, b in places]
    doc.ents = spans
    context(doc)
    print(json.dumps(any(not ent._.any_context_attributes for ent in doc.ents)))
"""


class Case(NamedTuple):
    """A sentence, where it mentions the symptom, and whether it asserts it."""

    sentence: str
    mentions: Sequence[Mention]
    asserted: bool


def cases() -> list[Case]:
    """Read the sentences."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Case(row["sentence"], Finder({"it": [row["symptom"]]}).find(row["sentence"]), row["status"] == "asserted")
        for row in rows
    ]


def read_by(assertion: ConText) -> Callable[[Case], bool]:
    """Return the reading of one set of triggers."""
    return lambda case: not all(assertion.modifiers(Sentence("", case.sentence), case.mentions))


def medspacy(python: str, every: Sequence[Case]) -> list[bool]:
    """Return the reading of medSpaCy's ConText with its own rules, each modifier counted as not asserted."""
    lines = [json.dumps([case.sentence, [[m.start, m.end] for m in case.mentions]]) for case in every]
    told = subprocess.run(
        [python, "-c", MEDSPACY], input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in told.stdout.splitlines()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--medspacy", metavar="PYTHON", help="interpreter of an environment with medSpaCy")
    python = parser.parse_args().medspacy
    every = cases()
    readings = {"keyword only": [True] * len(every)}
    for name, assertion in {
        "negspacy, its own en_clinical": ConText({"negated": LANGUAGES["en_clinical"]}),
        "clinlm.text.negation": ConText(),
    }.items():
        readings[name] = [read_by(assertion)(case) for case in every]
    if python:
        readings["medSpaCy ConText"] = medspacy(python, every)
    order = list(dict.fromkeys(case.sentence for case in every))
    odd = [order.index(case.sentence) % 2 == 1 for case in every]
    for title, chosen in (("all", [True] * len(every)), ("odd sentences only", odd)):
        truth = [case.asserted for case, there in zip(every, chosen, strict=True) if there]
        print(f"\n{title}: {len(truth)} mentions, {sum(truth)} asserted")
        print(f"{'':32}{'accuracy':>10}{'precision':>10}{'recall':>10}{'F1':>10}")
        for name, found in readings.items():
            mine = [one for one, there in zip(found, chosen, strict=True) if there]
            precision, recall, f1, _ = precision_recall_fscore_support(truth, mine, average="binary")
            print(f"{name:32}{accuracy_score(truth, mine):10.3f}{precision:10.3f}{recall:10.3f}{f1:10.3f}")


if __name__ == "__main__":
    main()
