"""A run that is killed at any moment and started again ends as one that was not: byte for byte; and memory stays."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.killed import killing

Notes = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, float]]]:
    """Return what runs the command until it is not killed (seed 0: at once); it tells how many were, and its memory."""
    with killing("predict", tmp_path_factory.mktemp("memory")) as until_done:
        yield lambda seed, **settings: until_done(seed, [f"{key}={value}" for key, value in settings.items()])


@pytest.fixture(scope="module")
def rough(notes: Notes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes with what is none between them, as JSON Lines."""
    rng, lines = random.Random(1), []
    for id, text in [note for note in notes if len(note[1]) < 2_000]:
        lines += [rng.choice(["{", '{"id": "x"}', "[]", "\xff"])] * rng.choice([0, 0, 1, 3])
        lines.append(json.dumps({"id": id, "text": text}))
    path = tmp_path_factory.mktemp("rough") / "notes.jsonl"
    path.write_text("\n".join(lines), encoding="latin-1")
    return path


@pytest.mark.integration
@pytest.mark.parametrize(
    ("suffix", "seed", "models"),
    [
        *((".jsonl", 1, ("model_folder", "shadow_folder")), (".csv", 2, ("model_folder", "shadow_folder"))),
        *((".parquet", 3, ("model_folder", "shadow_folder")), (".jsonl", 4, ("tagger_folder", "shadow_tagger"))),
    ],
)
def test_killed_and_resumed_is_as_if_never_killed(
    tmp_path: Path,
    rough: Path,
    suffix: str,
    seed: int,
    models: tuple[str, str],
    run: Callable[..., Any],
    killed: Callable[..., dict[str, float]],
    request: pytest.FixtureRequest,
) -> None:
    artifact, shadow = (request.getfixturevalue(name) for name in models)
    settings = {"input": rough, "artifact": artifact, "shadow": shadow, "window": 8, "threads": 2}
    whole, broken = tmp_path / f"whole{suffix}", tmp_path / f"broken{suffix}"
    plain = run(**{**settings, "output": whole, "batch_tokens": 1024})
    told = killed(seed, output=broken, **settings)
    assert told["killed"] >= 3, "it was killed, and more than once"
    if suffix == ".parquet":
        assert pl.read_parquet(whole).equals(pl.read_parquet(broken))
    else:
        assert whole.read_bytes() == broken.read_bytes()
    for ending in (".rejects.jsonl", ".shadow.json"):
        assert whole.with_name(whole.name + ending).read_bytes() == broken.with_name(broken.name + ending).read_bytes()
    progress = json.loads(broken.with_name(broken.name + ".progress.json").read_text())
    assert progress["complete"] and progress["predicted"] == plain.predicted and progress["totals"] == plain.totals
    assert {path.name.removeprefix(".") for path in tmp_path.glob(".*")} <= {f"{broken.name}.lock"}
    assert not [path for path in tmp_path.glob("*.parts")]


@pytest.mark.integration
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_four_times_the_input_takes_no_more_memory(
    tmp_path: Path, model_folder: Path, suffix: str, killed: Callable[..., dict[str, float]]
) -> None:
    peaks = []
    for many in (100, 400):
        path = tmp_path / f"notes{many}{suffix}"
        if suffix == ".csv":  # most of a table is not text
            path.write_text("text,other\n" + f'"fever, cough","{"y" * 80_000}"\n' * many)
        else:
            path.write_text((json.dumps({"text": "fever " + "x" * 30_000}) + "\n") * many)
        settings = {"window": 8, "threads": 1, "artifact": model_folder}
        peaks.append(killed(0, input=path, output=tmp_path / f"{many}.csv", **settings)["mib"])
    assert peaks[1] < peaks[0] + 5, "the input grew by 9 MiB or 23"
