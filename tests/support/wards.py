"""A task whose notes have sections and sentences, and ways to make transfers on it, composed from `conf/`."""

import csv
import random
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from clinlm.config.settings import plain
from clinlm.config.validation import CONF
from clinlm.corpora.table import Table
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.training.augmentation.base import Augmentation
from support.pipelines import composed

WAYS = sorted({path.stem for path in CONF.glob("augmentation/*.yaml")} - {"none"})
SECTIONS = ("CHIEF COMPLAINT", "FINDINGS", "IMPRESSION", "PLAN", "MEDICATIONS")
_WORDS = {
    "asthma": ("wheeze", "inhaler", "spirometry", "albuterol"),
    "fracture": ("cast", "splint", "radius", "fall"),
    "gout": ("toe", "urate", "colchicine", "tophus"),
}
_FILLER = "patient seen today no fever denies chest pain takes 20 mg daily tender abdomen nontender neck".split()


def write(path: Path, notes: int = 45, planted: dict[int, str] | None = None) -> Path:
    """Write a table of notes, two a group: labels and sections are drawn; `planted` words end those notes."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "group", "text", "labels"])
        for number in range(notes):
            label = sorted(_WORDS)[number // 2 % 3]
            parts = []
            for header in rng.sample(SECTIONS, rng.randint(1, 4)):
                lines = [rng.choices([*_FILLER, *_WORDS[label]], k=rng.randint(3, 8)) for _ in range(rng.randint(1, 3))]
                parts.append(f"{header}: " + " ".join(f"{' '.join(line).capitalize()}." for line in lines))
            text = "\n".join(parts) + f"\nSeen {number} times."
            if planted and number in planted:
                text += f"\nPLAN: {planted[number]} {planted[number]}. See {planted[number]}."
            writer.writerow([f"n{number}", f"p{number // 2}", text, label])
    return path


def opened(notes: Path, root: Path, key: str = "key", **settings: Any) -> MultiLabel:
    """Return the opened task on a table that `write` wrote."""
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    task = MultiLabel(corpus, str(notes), Head(), labels=3, max_tokens=32, shares=(0.6, 0.2, 0.2), **settings)
    task.open(root, key)
    return task


def made(way: str, notes: Path, root: Path, language_model: Path, *overrides: str) -> Augmentation:
    """Return the transfer of a yaml; what it needs beside is at hand: a language model, and `notes` as a corpus."""
    table = ("id=id", "group=group", "labels=null", "delimiter=null")
    needed = {
        "masked_substitution": [f"augmentation.name={language_model}"],
        "unlabelled_notes": ["corpus@augmentation.corpus=table", *(f"augmentation.corpus.{one}" for one in table)],
    }
    place = [f"augmentation.root={notes}"] if way == "unlabelled_notes" else []
    config = composed(notes, root, f"augmentation={way}", *needed.get(way, []), *place, *overrides)
    augmentation: Augmentation = instantiate(plain(config.augmentation))
    return augmentation
