"""The TF-IDF baseline: learns, survives a round trip, and is found when damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clinlm.config.errors import DataError
from clinlm.metrics.baseline import FILES, TfidfBaseline
from clinlm.metrics.classification import fit_thresholds, quality
from clinlm.metrics.term_model import CARD

MTSAMPLES = Path(__file__).parents[2] / "../shared/data/mtsamples.csv.gz"


def corpus(seed: int, documents: int = 60) -> tuple[list[str], Any]:
    """Label k is there where word k is; the last label never is, the one before always."""
    random = np.random.default_rng(seed)
    targets = random.random((documents, 5)) < 0.4
    targets[:, 3], targets[:, 4] = True, False
    words = np.array(["älpha", "Beta", "gamma"])
    texts = [" ".join(["filler", "noise", *words[row[:3]], f"only{seed}x{i}"]) for i, row in enumerate(targets)]
    return texts, targets


@pytest.fixture(scope="module")
def baseline() -> TfidfBaseline:
    return TfidfBaseline.fit(*corpus(0), *corpus(1, 30))


def test_learns_words_and_gives_constant_labels_their_share(baseline: TfidfBaseline) -> None:
    texts, targets = corpus(2)
    probabilities = baseline.probabilities(texts)
    assert quality(targets[:, :3], probabilities[:, :3], np.full(3, 0.5))["micro_f1"] > 0.95
    assert probabilities[:, 3] == pytest.approx(np.full(60, 61 / 62))
    assert probabilities[:, 4] == pytest.approx(np.full(60, 1 / 62))


def test_accents_case_and_rare_words_do_not_matter(baseline: TfidfBaseline) -> None:
    assert "alpha" in baseline.vocabulary and "beta gamma" in baseline.vocabulary
    assert not any(term.startswith("only") for term in baseline.vocabulary)
    one, other = baseline.probabilities(["ALPHA beta", "älpha Beta unheard"])
    np.testing.assert_array_equal(one, other)


def test_documents_do_not_influence_each_other(baseline: TfidfBaseline) -> None:
    texts, _ = corpus(3)
    alone = np.vstack([baseline.probabilities([text]) for text in texts])
    np.testing.assert_allclose(alone, baseline.probabilities(texts), rtol=1e-6)
    assert baseline.probabilities([]).shape == (0, 5)


def test_round_trip_is_bit_equal(baseline: TfidfBaseline, tmp_path: Path) -> None:
    baseline.save(tmp_path / "new" / "folder")
    loaded = TfidfBaseline.load(tmp_path / "new" / "folder")
    texts, _ = corpus(4)
    np.testing.assert_array_equal(loaded.probabilities(texts), baseline.probabilities(texts))
    assert (loaded.strength, loaded.parameters) == (baseline.strength, baseline.parameters)
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {*FILES}


def test_another_format_is_refused(baseline: TfidfBaseline, tmp_path: Path) -> None:
    """A file of a later version may hold other numbers under the same names."""
    baseline.save(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps(card | {"coefficients": "int8"}))
    with pytest.raises(DataError, match="must have the format of this version, .*'coefficients': 'float32'"):
        TfidfBaseline.load(tmp_path)


def test_fit_is_deterministic(baseline: TfidfBaseline) -> None:
    again = TfidfBaseline.fit(*corpus(0), *corpus(1, 30))
    np.testing.assert_array_equal(again.weights, baseline.weights)


def test_size(baseline: TfidfBaseline) -> None:
    terms = len(baseline.vocabulary)
    assert baseline.parameters == 5 * terms + 5 + terms
    assert baseline.nonzero <= baseline.parameters - 2 * terms


@pytest.mark.parametrize("name", ["baseline.json", "vocabulary.json", "weights.safetensors"])
def test_damage_is_found(baseline: TfidfBaseline, tmp_path: Path, name: str) -> None:
    baseline.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="must belong together"):
        TfidfBaseline.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        TfidfBaseline.load(tmp_path)


def test_misfits_are_refused() -> None:
    texts, targets = corpus(0)
    with pytest.raises(ValueError, match="one row of targets"):
        TfidfBaseline.fit(texts[:-1], targets, *corpus(1))
    with pytest.raises(ValueError, match="all equal"):
        TfidfBaseline.fit(texts, targets, texts, np.zeros_like(targets))
    with pytest.raises(ValueError, match="at least 2 training documents") as caught:
        TfidfBaseline.fit(["one secretword", "another"], targets[:2], *corpus(1))
    assert "secretword" not in str(caught.value)


def test_real_notes() -> None:
    if not MTSAMPLES.is_file():
        pytest.skip("../shared/data/mtsamples.csv.gz is absent")
    notes = (
        pl.read_csv(MTSAMPLES, columns=["sample_id", "medical_specialty", "transcription"])
        .drop_nulls()
        .group_by("sample_id", maintain_order=True)
        .agg(pl.col("transcription").first(), pl.col("medical_specialty").str.strip_chars())
    ).head(700)
    names = [" ".join(parts) for parts in notes["medical_specialty"].to_list()]
    targets = np.array([[label in name for label in ("Surgery", "Consult", "Cardio", "Ortho")] for name in names])
    order = np.random.default_rng(0).permutation(len(notes))
    texts = [notes["transcription"][int(place)] for place in order]
    targets = targets[order]
    fitted = TfidfBaseline.fit(texts[:400], targets[:400], texts[400:500], targets[400:500])
    thresholds = fit_thresholds(targets[400:500], fitted.probabilities(texts[400:500]), "per_label")
    trained = quality(targets[500:], fitted.probabilities(texts[500:]), thresholds)
    always = quality(targets[500:], np.ones((len(targets) - 500, 4)), np.full(4, 0.5))
    assert trained["micro_f1"] > always["micro_f1"] + 0.1 and trained["macro_auroc"] > 0.8
