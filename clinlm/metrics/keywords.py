"""The bare keyword matcher: a label is predicted where one of its words occurs, and nothing else is read."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

ATTRIBUTE = "keywords"
"""The attribute of a record that names the labels whose words occur in its text, separated by `;`, asserted or not."""


def matched(mentioned: Sequence[str | None], labels: Sequence[str]) -> Float[np.ndarray, "documents labels"]:
    """Return 1 where a label is among those mentioned, and 0 elsewhere.

    Args:
        mentioned: of every document, labels separated by `;`; None for none.
        labels: the columns.
    """
    found = [set((names or "").split(";")) for names in mentioned]
    return np.array([[float(label in own) for label in labels] for own in found]).reshape(len(found), len(labels))
