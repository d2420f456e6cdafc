"""The tokenizer of a checkpoint: it fits the embedding table, knows its words, and keeps case as its files say."""

import json
import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models.checkpoint_files import check_content
from clinlm.models.encoders import idle_positions, padding_of_positions
from clinlm.text.tokens import uncut

log = logging.getLogger(__name__)
_FILES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "spm.model", "tokenizer.model"),
    *("sentencepiece.bpe.model", "bpe.codes", "entity_vocab.json", "tokenizer_config.json", "special_tokens_map.json"),
)
_PADDED_ROWS = 128
"""Tables are padded to multiples of 8, 64 or 128 rows."""
_PROBE = "55 y/o m, bp 120/80; x-ray (2x): no chf.\n- took 12.5 mg/dl  q.d. @home #3 [r/o pe]"
"""In lower case and without accents, which settings may rightly treat otherwise than `tokenizer.json`."""
_FEW_CAPITALS = 0.01
"""Of the entries made of letters; uncased vocabularies have none."""


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has the vocabulary of a tokenizer, and not only its settings."""
    return any((folder / name).is_file() for name in _FILES if not name.endswith("_config.json") and "map" not in name)


def load_tokenizer(
    place: str, folder: Path, revision: str | None, config: PretrainedConfig, lowercase: bool | None
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint.

    Args:
        place: folder or hub name, as transformers takes it.
        folder: where its files are.
        config: of the encoder.
        lowercase: whether it makes texts lower-case. None for what its files say: `do_lower_case` in
            `tokenizer_config.json`, else the normalizer in `tokenizer.json`. Where they say nothing, a vocabulary with
            capitalised entries keeps case.

    Raises:
        OSError: (for a hub name) its files are neither cached nor downloadable.
        ModelError: its files are missing or damaged, or it does not fit the embedding table.
        ConfigError: case is fixed in this kind of tokenizer, and `lowercase` differs.
    """
    for name in _FILES:
        if (folder / name).is_file():
            check_content(folder / name)
    tokenizer = _open(place, folder, revision, config, lowercase)
    check_vocabulary(tokenizer, config, folder)
    if lowercase is None:
        wanted = _case_of_files(tokenizer, folder)
        if wanted is not None and wanted != lowers(tokenizer):
            tokenizer = _open(place, folder, revision, config, wanted)
    if lowercase is not None and lowercase != lowers(tokenizer):
        raise ConfigError(
            f"lowercase must be null for {type(tokenizer).__name__}, got {str(lowercase).lower()}: its files fix case"
        )
    _warn_of_other_tokens(tokenizer, folder)
    first = tokenizer.cls_token
    if first is not None and first not in uncut(tokenizer).encode("a").tokens:
        log.warning("%s: the tokenizer begins no row with its %s; its post-processor may be missing", folder, first)
    lost = _capitalised(tokenizer) if lowers(tokenizer) else 0
    if lost:
        log.warning(
            "%s: the tokenizer makes texts lower-case, so that %d capitalised entries of its vocabulary are unused; "
            "if the checkpoint is cased, set teacher.lowercase=false (or student.lowercase)",
            folder,
            lost,
        )
    return tokenizer


def _open(
    place: str, folder: Path, revision: str | None, config: PretrainedConfig, lowercase: bool | None
) -> PreTrainedTokenizerBase:
    case = {} if lowercase is None else {"do_lower_case": lowercase}
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            place, revision=revision, config=config, trust_remote_code=False, **case
        )
    except Exception as error:  # transformers and tokenizers raise many kinds for files that they cannot read
        if not Path(place).is_dir() and isinstance(error, OSError):
            raise
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{folder} must hold a tokenizer that transformers can read, got {_found(folder)}; it says: {reason}"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{folder} must have a fast tokenizer (tokenizer.json); save it with transformers 5 and pass that folder"
        )
    return tokenizer


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, folder: Path) -> None:
    """Check that the ids of a tokenizer are those of an embedding table.

    A table may have more rows than there are tokens: up to 128 for padding, or a tenth. Fewer tokens are the sign of a
    folder without a tokenizer, for which transformers makes one of special tokens only.

    Raises:
        ModelError: an id has no row, too many rows have no token, or a token that the family needs is another.
    """
    ids, rows = {*tokenizer.get_vocab().values()}, int(config.vocab_size)
    remedy = "copy all tokenizer files of the checkpoint that the weights come from"
    if max(ids, default=-1) >= rows:
        raise ModelError(
            f"{folder} must have an embedding for every token, got {rows:,} rows and tokens up to id {max(ids):,}; "
            f"{remedy}, or resize the table with model.resize_token_embeddings(len(tokenizer))"
        )
    if rows - len(ids) > max(rows // 10, min(_PADDED_ROWS, rows // 2)):
        raise ModelError(
            f"{folder} must have a tokenizer for the {rows:,} rows of its embeddings, got {len(ids):,} tokens and "
            f"{_found(folder)}; a {type(tokenizer).__name__} is read from {_needed(tokenizer)}: {remedy}"
        )
    if idle_positions(config) and tokenizer.pad_token_id != padding_of_positions(config):
        raise ModelError(
            f"{folder} must have a padding token of id {padding_of_positions(config)}, from which {config.model_type} "
            f"counts positions, got {tokenizer.pad_token_id}; {remedy}"
        )
    try:
        tokenizer.backend_tokenizer.encode("a", add_special_tokens=True)
    except Exception as error:  # tokenizers raises nothing more specific
        raise ModelError(f"{folder} must have a tokenizer that reads texts, it fails ({error}); {remedy}") from error


def _warn_of_other_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Warn where the class that `tokenizer_config.json` names cuts words otherwise than `tokenizer.json` does."""
    path = folder / "tokenizer.json"
    if path.is_file():
        read, stored = (
            backend.encode(_PROBE, add_special_tokens=False).tokens
            for backend in (uncut(tokenizer), Tokenizer.from_file(str(path)))
        )
        if read != stored[: len(read)]:
            log.warning(
                "%s: a %s makes other tokens than tokenizer.json describes; check tokenizer_class in "
                "tokenizer_config.json",
                folder,
                type(tokenizer).__name__,
            )


def lowers(tokenizer: PreTrainedTokenizerBase | Tokenizer) -> bool:
    """Return whether a fast tokenizer makes texts lower-case."""
    backend = tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer.backend_tokenizer
    return backend.normalizer is not None and "a" in backend.normalizer.normalize_str("A")


def _case_of_files(tokenizer: PreTrainedTokenizerBase, folder: Path) -> bool | None:
    """Return whether the tokenizer should make texts lower-case; None where only its class decides."""
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "do_lower_case" in settings:
        return None
    if (folder / "tokenizer.json").is_file():
        return lowers(Tokenizer.from_file(str(folder / "tokenizer.json")))
    if lowers(tokenizer) and _capitalised(tokenizer):
        log.warning(
            "%s does not say whether texts are made lower-case, and its vocabulary has capitalised entries: case is "
            "kept; set teacher.lowercase=true (or student.lowercase) if the checkpoint is uncased",
            folder,
        )
        return False
    return None


def _capitalised(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many entries of the vocabulary have capitals, or 0 if they are as few as in an uncased one."""
    pieces = [
        piece.removeprefix("##").lstrip("▁Ġ") for piece in {*tokenizer.get_vocab()} - {*tokenizer.all_special_tokens}
    ]
    words = [piece for piece in pieces if piece.isalpha()]
    capitals = sum(word != word.lower() for word in words)
    return capitals if capitals > _FEW_CAPITALS * len(words) else 0


def _needed(tokenizer: PreTrainedTokenizerBase) -> str:
    return " or ".join(sorted({*tokenizer.vocab_files_names.values()}))


def _found(folder: Path) -> str:
    found = [name for name in _FILES if (folder / name).is_file()]
    return f"the files {', '.join(found)}" if found else "no tokenizer file"
