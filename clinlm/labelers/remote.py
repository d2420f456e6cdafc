"""Notes leave this machine only if both the user and the corpus allow it."""

from collections.abc import Iterator

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus
from clinlm.labelers.base import Labeler


def refuse_remote(labeler: Labeler, corpus: Corpus) -> None:
    """Check that neither a labeler nor its parts would send notes to another machine against the rules.

    Raises:
        ConfigError: the corpus forbids it, or the labeler's `allow_remote` is not set; the message says which.
    """
    for part in _with_parts(labeler):
        if part.remote and not corpus.remote_allowed:
            raise ConfigError(
                f"the notes of {type(corpus).__name__} are under a data use agreement that forbids passing them to "
                f"third parties; {type(part).__name__} would send them to {part.remote}; use a model on this machine, "
                "such as base_url=http://127.0.0.1:PORT/v1 (no setting lifts this)"
            )
        refuse_opt_in(part)


def refuse_opt_in(labeler: Labeler) -> None:
    """Check that a labeler sends notes to another machine only if its `allow_remote` is set.

    Raises:
        ConfigError: it would send them without.
    """
    if labeler.remote and not labeler.allow_remote:
        raise ConfigError(
            f"notes must stay on this machine unless allow_remote is set; {type(labeler).__name__} would send them to "
            f"{labeler.remote}, which is not a loopback address (localhost, 127.0.0.0/8, ::1); if these notes may "
            "leave, set its allow_remote=true"
        )


def _with_parts(labeler: Labeler) -> Iterator[Labeler]:
    yield labeler
    for part in labeler.parts:
        yield from _with_parts(part)
