"""Models with a file broken, given to `clinlm predict`: served, or refused in a paragraph that names them."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from support.broken_models import attacks, break_copy, judged, predicting

from torture.forks import clinlm_run, forked
from torture.runs import unbroken
from torture.verdicts import Verdict


def broken_models(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Break `count` files of the artifacts and baselines of a pipeline, one in a copy of each in turn."""
    own = place / "own"
    models = sorted(path.parent for path in (unbroken().place / "store").glob("*/serving.json"))
    streams = [attacks(model, rng) for model in models]
    for number in range(count):
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        model, attack = models[number % len(models)], next(streams[number % len(models)])
        copy = break_copy(model, own / model.name, attack, rng)
        ended = forked(clinlm_run("predict", *predicting(copy, own)), own)
        outcome = ended.broken or judged(ended.status or 0, ended.told, copy)
        yield Verdict(f"{model.name}: {attack}", outcome, outcome in ("served", "refused"), ended.told)
