"""Which labelers may send which notes away: none, unless the user and the corpus both allow it."""

from collections.abc import Iterator

from clinlm.corpora.base import Corpus
from clinlm.labelers.base import Labeler


def refuse_remote(labeler: Labeler, corpus: Corpus) -> None:
    """Raise if a labeler, or one that it combines, would send notes to another machine that must not get them.

    Raises:
        ValueError: the corpus forbids it, or the labeler's `allow_remote` is not set; the message says which, and why.
    """
    for one in _all(labeler):
        if one.remote and not corpus.remote_allowed:
            raise ValueError(
                f"the notes of {type(corpus).__name__} are under a data use agreement that forbids passing them to "
                f"third parties; {type(one).__name__} would send them to {one.remote}; use a model on this machine, as "
                "base_url=http://127.0.0.1:PORT/v1 (no setting lifts this)"
            )
        refuse_opt_in(one)


def refuse_opt_in(labeler: Labeler) -> None:
    """Raise if a labeler would send notes to another machine, and its `allow_remote` is not set.

    Raises:
        ValueError: it would.
    """
    if labeler.remote and not getattr(labeler, "allow_remote", False):
        raise ValueError(
            f"notes stay on this machine unless you say otherwise; {type(labeler).__name__} would send them to "
            f"{labeler.remote}, which is no loopback address (localhost, 127.0.0.0/8, ::1); where the notes may leave, "
            "set its allow_remote=true"
        )


def _all(labeler: Labeler) -> Iterator[Labeler]:
    yield labeler
    for part in labeler.parts:
        yield from _all(part)
