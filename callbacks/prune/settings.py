"""The settings that pruning methods share, and what they may be."""


def check_ratio(ratio: float) -> None:
    """Raise unless `ratio` is a share that takes something away and leaves something.

    Raises:
        ValueError: it is not in (0, 1).
    """
    if not 0 < ratio < 1:
        raise ValueError(
            f"prune.ratio is a share in (0, 1); got {ratio}; take the stage out (~stages.NAME) to prune nothing"
        )


def check_documents(documents: int) -> None:
    """Raise unless there is at least one calibration document.

    Raises:
        ValueError: there is none.
    """
    if documents < 1:
        raise ValueError(f"prune.documents is at least 1; got {documents}")


def check_scope(scope: str) -> None:
    """Raise unless all weights of the encoder compete (`global`), or those of a linear layer (`layer`).

    Raises:
        ValueError: it is neither.
    """
    if scope not in ("global", "layer"):
        raise ValueError(f"prune.scope is global or layer; got {scope!r}")
