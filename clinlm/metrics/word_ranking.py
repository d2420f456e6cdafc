"""How well the probabilities of tags rank words: AUROC and AUPRC, so that limits on them hold for entities too."""

import numpy as np
from jaxtyping import Float, Int

from clinlm.metrics.weighted import Values, Weights, rankings

METRICS = ("micro_auroc", "macro_auroc", "micro_auprc", "macro_auprc")
"""Keys of `word_ranking()`, in the order of reports. All lie in [0, 1]; higher is better."""

WordTags = Int[np.ndarray, " words"]
WordStart = Int[np.ndarray, " documents_and_end"]
"""Where the words of each document begin, all documents end to end, and last their number."""


def word_ranking(
    tags: WordTags,
    probabilities: Float[np.ndarray, "words tags"],
    word_start: WordStart,
    weights: Weights,
) -> dict[str, Values]:
    """Rank the words for every label by the sum of the probabilities of its two tags; right is a word inside an entity.

    Where an entity begins plays no part here. 120,000 words, 3 labels and 1,000 resamples take about 2 seconds.

    Args:
        tags: the true ones, as `clinlm.text.tags.Tags` numbers them.
        probabilities: of all tags, in [0, 1].
        word_start: ascends from 0 to the number of words.
        weights: whole numbers >= 0, how often each resample holds each document.

    Returns:
        One value per row of weights and metric of `METRICS`; NaN where no label has words inside and words outside.

    Raises:
        ValueError: the arguments do not fit each other, or probabilities leave [0, 1].
    """
    document = documents_of(word_start, len(tags))
    if probabilities.shape[1] % 2 == 0 or len(probabilities) != len(tags) or weights.shape[1] != len(word_start) - 1:
        raise ValueError(
            f"words are ranked by the probabilities of O and two tags a label, and weighted by document; "
            f"{probabilities.shape} probabilities came for {len(tags)} words, and {weights.shape} weights for "
            f"{len(word_start) - 1} documents"
        )
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise ValueError("probabilities lie in [0, 1]; others (or NaN) came: pass logits through a softmax first")
    labels = np.arange(probabilities.shape[1] // 2)
    inside = (tags[:, None] - 1) // 2 == labels
    values = rankings(inside, probabilities[:, 1::2] + probabilities[:, 2::2], document, weights)
    return {name: values[name] for name in METRICS}


def documents_of(word_start: WordStart, words: int) -> Int[np.ndarray, " words"]:
    """Return the number of the document of every word.

    Raises:
        ValueError: `word_start` does not ascend from 0 to the number of words.
    """
    counts = np.diff(word_start)
    if len(word_start) < 2 or word_start[0] != 0 or word_start[-1] != words or np.any(counts < 0):
        raise ValueError(f"the words of documents begin at 0, ascend and end at {words}; other numbers came")
    return np.repeat(np.arange(len(counts)), counts)
