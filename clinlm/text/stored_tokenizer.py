"""Fast tokenizers as texts are encoded with them, from the files that transformers writes, without importing it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, final

from tokenizers import Tokenizer

TOKENIZER = "tokenizer"
"""Folder in that of an artifact; a deployment has the files of its tokenizer beside the others."""


class TextTokenizer(Protocol):
    """What encoding needs of a fast tokenizer: those of transformers have it, and `StoredTokenizer`."""

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """Return the tokenizer proper."""
        ...

    @property
    def mask_token(self) -> str | None:
        """Return the token that stands for a masked word; None for none."""
        ...

    @property
    def pad_token_id(self) -> Any:
        """Return the id of the padding token; None for none."""
        ...


@final
@dataclass(frozen=True)
class StoredTokenizer:
    """The tokenizer of an artifact or a deployment. Importing transformers takes seconds, and about 200 MB."""

    backend_tokenizer: Tokenizer
    mask_token: str | None
    pad_token_id: int | None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the tokenizer that `clinlm.text.tokens.save_tokenizer` wrote into `folder`.

        `tokenizer.json` there is the one that the model was trained with, and complete.
        """
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        pad = _token(settings, "pad_token")
        return cls(backend, _token(settings, "mask_token"), None if pad is None else backend.token_to_id(pad))


def _token(settings: dict[str, Any], name: str) -> str | None:
    """Return a special token of `tokenizer_config.json`, which has its text alone or with flags."""
    found = settings.get(name)
    return found["content"] if isinstance(found, dict) else found
