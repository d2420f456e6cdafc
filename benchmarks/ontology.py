"""How fast the ontology labeler is: MB of text a second on one core, seconds to load, memory, and other ways beside it.

python benchmarks/ontology.py [--terms 500000] [--megabytes 8] [--small 20000] [--phrase-matcher]

Made-up terms of one to five words (words as frequent as Zipf says, so that they share beginnings as real terms do) and
made-up text of which one word in four belongs to a term; then the vocabularies of ../shared/data/ontology on MTSamples,
where these lie there. The other ways (one regular expression of all terms, as `clinlm.terminology.mentions` writes it,
and spaCy's
PhraseMatcher) get `--small` of the terms: the first takes minutes to load all. They fold no endings, so they do less.
"""

import argparse
import gzip
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf
from paired import Row, machine, tell

from clinlm.config.validation import CONF
from clinlm.labelers.base import Note
from clinlm.labelers.ontology import Ontology
from clinlm.terminology.base import Term
from clinlm.terminology.matcher import Matcher
from clinlm.terminology.mentions import Finder

DATA = Path(__file__).parents[2] / "shared" / "data"
NOTE = 3000
"""Characters of a made-up note."""


def words(count: int, rng: random.Random) -> list[str]:
    """Return made-up words of two to five syllables."""
    syllables = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "or", "um")]
    return ["".join(rng.choices(syllables, k=rng.randint(2, 5))) for _ in range(count)]


def terms(count: int, rng: random.Random) -> list[Term]:
    """Return so many different terms."""
    known = words(60_000, rng)
    weights = [1 / (rank + 20) for rank in range(len(known))]
    found: dict[str, None] = {}
    while len(found) < count:
        drawn = iter(rng.choices(known, weights, k=200_000))
        for length in rng.choices((1, 2, 3, 4, 5), (1, 4, 4, 2, 1), k=50_000):
            found[" ".join(word for _, word in zip(range(length), drawn, strict=False))] = None
    return [Term(text, "DISEASE") for text in list(found)[:count]]


def notes(megabytes: float, known: Sequence[Term], rng: random.Random) -> Iterator[str]:
    """Yield notes of which one word in four belongs to a term."""
    filler = words(20_000, rng)
    for _ in range(int(megabytes * 1e6 / NOTE)):
        pieces: list[str] = []
        length = 0
        while length < NOTE:
            entity = rng.random() < 0.1
            pieces.append(rng.choice(known).text if entity else rng.choice(filler) + rng.choice(("", "", "", ",", ".")))
            length += len(pieces[-1]) + 1
        yield " ".join(pieces)


def phrases(known: Sequence[Term]) -> Callable[[str], Any]:
    """Return spaCy's matcher of lower-case tokens."""
    import spacy
    from spacy.matcher import PhraseMatcher

    blank = spacy.blank("en")
    matcher = PhraseMatcher(blank.vocab, attr="LOWER")
    matcher.add("it", [blank.make_doc(term.text) for term in known])
    return lambda text: matcher(blank.make_doc(text))


def told(name: str, load: Callable[[], Callable[[str], Any]], texts: Sequence[str]) -> float:
    """Load, find in all texts three times, print and return the best MB a second of processor time."""
    began = time.process_time()
    find = load()
    loaded = time.process_time() - began
    best = 0.0
    size = sum(len(text.encode()) for text in texts) / 1e6
    for _ in range(3):
        began = time.process_time()
        found = sum(len(find(text)) for text in texts)
        best = max(best, size / (time.process_time() - began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:46}{best:9.2f}{loaded:9.2f}{peak:11.0f}{size:7.2f}{found:9,}")
    return best


def real() -> tuple[Ontology, list[str]]:
    """Return the labeler of conf/labeler/ontology.yaml and MTSamples' table in pieces."""
    labeler = instantiate(OmegaConf.load(CONF / "labeler" / "ontology.yaml"), root=str(DATA / "ontology"))
    text = gzip.decompress((DATA / "mtsamples.csv.gz").read_bytes()).decode()
    return labeler, [text[place : place + NOTE] for place in range(0, len(text), NOTE)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", type=int, default=500_000)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--phrase-matcher", action="store_true")
    given = parser.parse_args()
    rng = random.Random(0)
    known = terms(given.terms, rng)
    texts = list(notes(given.megabytes, known, rng))
    small, few = known[: given.small], texts[: max(1, len(texts) // 8)]
    print(f"{'':46}{'MB/s':>9}{'load s':>9}{'peak MiB':>11}{'MB':>7}{'spans':>9}")
    print("(peak: of the process, made-up terms and text with it, so far)")
    told(f"this, {len(known):,} made-up terms", lambda: Matcher(known).spans, texts)
    this = told(f"this, {len(small):,} of them", lambda: Matcher(small).spans, few)
    ways: dict[str, Callable[[], Callable[[str], Any]]] = {
        "one regular expression": lambda: Finder({"it": [term.text for term in small]}).find
    }
    if given.phrase_matcher:
        ways["spaCy PhraseMatcher"] = lambda: phrases(small)
    others = {name: told(f"{name}, {len(small):,}", load, few) for name, load in ways.items()}
    tell([Row.of(f"finding {len(small):,} terms", name, "s/MB", [1 / this], [1 / own]) for name, own in others.items()])
    print(machine())
    if DATA.is_dir():
        labeler, pieces = real()
        label = lambda text: next(iter(labeler.label([Note(text)]))).spans  # noqa: E731
        told("open vocabularies, MTSamples", lambda: (len(labeler.matcher), label)[1], pieces)


if __name__ == "__main__":
    main()
