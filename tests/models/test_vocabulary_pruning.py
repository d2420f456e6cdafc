"""Laws of smaller vocabularies: what was read is read as before, and what could be spelled still can."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from clinlm.config.errors import ModelError
from clinlm.models import vocabulary_pruning
from clinlm.text.group_floor import GroupFloor
from clinlm.text.long_notes import Head
from clinlm.text.tokens import RowCutter, uncut

LEARNT = ["the patient was seen with fever and cough", "severe coughing, fevers: 39.5°C; naïve to penicillin"] * 3
LEARNT += ["unremarkable rechecking of wheezing; he wheezes", "Blutdruck über 140, größer als zuvor"] * 2
READ = ["the patient wheezes, fever 39", "he was seen"]
SPECIAL = ["<pad>", "<unk>", "<cls>", "<sep>", "<mask>"]
NAMES = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
FRAMES = ("template", "roberta", "sequence")
DECODERS = {
    "word_piece": decoders.WordPiece(),
    "bytes": decoders.ByteLevel(),
    "end_of_word": decoders.BPEDecoder("</w>"),
    "inner_prefix": decoders.WordPiece("@@"),
    "unigram": decoders.Metaspace(),
    "ignore_merges": decoders.ByteLevel(),
    "byte_fallback": decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]),
}
KINDS = tuple(DECODERS)
WORDS = st.text(st.sampled_from("abcdefghilmnoprstuvwyzäöüß°09.,;: <>▁Ġ#"), max_size=30)
TEXTS = st.one_of(st.text(max_size=30), WORDS, st.sampled_from(LEARNT))


def pieces_of(kind: str, size: int) -> Tokenizer:
    """A tokenizer of one kind, learnt from `LEARNT`."""
    settings: dict[str, Any] = {"vocab_size": size, "special_tokens": SPECIAL, "show_progress": False}
    if kind == "word_piece":
        learner = Tokenizer(models.WordPiece(unk_token="<unk>"))
        learner.normalizer, learner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(**settings)
    elif kind == "unigram":
        learner = Tokenizer(models.Unigram())
        learner.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **settings)
    elif kind in ("bytes", "ignore_merges"):
        learner = Tokenizer(models.BPE(ignore_merges=kind == "ignore_merges"))
        learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **settings | {"vocab_size": size + 256})
    else:
        marks = {"end_of_word": {"end_of_word_suffix": "</w>"}, "inner_prefix": {"continuing_subword_prefix": "@@"}}
        own = marks.get(kind, {})
        fallback = {"byte_fallback": True, "fuse_unk": True} if kind == "byte_fallback" else {}
        learner = Tokenizer(models.BPE(unk_token="<unk>", **own, **fallback))
        learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if fallback:
            settings["special_tokens"] = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
            settings["vocab_size"] += 256
        trainer = trainers.BpeTrainer(**settings, **own)
    learner.train_from_iterator(LEARNT, trainer)
    learner.decoder = DECODERS[kind]
    return learner


def tokenizer(kind: str, frame: str = "template") -> PreTrainedTokenizerFast:
    return _tokenizer(kind, frame)  # one for both ways to call it: learning breaks ties by chance


@cache
def _tokenizer(kind: str, frame: str) -> PreTrainedTokenizerFast:
    learnt = pieces_of(kind, 120)
    number = {name: learnt.token_to_id(name) for name in SPECIAL}
    template = processors.TemplateProcessing(single="<cls> $A <sep>", special_tokens=[(n, number[n]) for n in SPECIAL])
    roberta = processors.RobertaProcessing(("<sep>", number["<sep>"]), ("<cls>", number["<cls>"]))
    many = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    learnt.post_processor = {"template": template, "roberta": roberta, "sequence": many}[frame]
    learnt.enable_padding(pad_id=number["<pad>"], pad_token="<pad>", length=16)
    learnt.enable_truncation(12)
    told = json.loads(learnt.to_str())
    if kind == "byte_fallback":  # bytes are what words fall back to, not words of their own
        told["added_tokens"] = [one for one in told["added_tokens"] if not one["content"].startswith("<0x")]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)), model_max_length=77, **NAMES)


@cache
def smaller(kind: str, frame: str = "template", min_count: int = 1) -> PreTrainedTokenizerFast:
    whole = tokenizer(kind, frame)
    return vocabulary_pruning.trim_tokenizer(
        whole, vocabulary_pruning.tokens_to_keep(whole, vocabulary_pruning.count_tokens(whole, READ), min_count)
    )


def pieces(one: PreTrainedTokenizerFast, text: str) -> list[str]:
    found: list[str] = uncut(one).encode(text).tokens
    return found


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_counted_is_cut_as_before(kind: str, frame: str) -> None:
    whole, trimmed = tokenizer(kind, frame), smaller(kind, frame)
    assert len(trimmed) < len(whole)
    for text in READ:
        assert pieces(trimmed, text) == pieces(whole, text)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_texts_counted_are_cut_as_before(kind: str, data: Any) -> None:
    texts, whole = data.draw(st.lists(TEXTS, min_size=1, max_size=3)), tokenizer(kind)
    trimmed = vocabulary_pruning.trim_tokenizer(
        whole, vocabulary_pruning.tokens_to_keep(whole, vocabulary_pruning.count_tokens(whole, texts))
    )
    for text in texts:
        assert pieces(trimmed, text) == pieces(whole, text)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_few_groups_do_not_count(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """By hand: the texts, each a group, that have a token."""
    whole = tokenizer(kind)
    vocabulary = whole.get_vocab()  # in another order each time
    expected = {token: sum(token in pieces(whole, text) for text in READ) for token in vocabulary}
    plain = vocabulary_pruning.count_tokens(whole, READ)
    for least in (1, 2, len(READ) + 1):
        counts, rare = vocabulary_pruning.count_common_tokens(whole, READ, GroupFloor.of(range(len(READ)), least))
        common = sorted(number for token, number in vocabulary.items() if expected[token] >= least)
        assert np.array_equal(np.flatnonzero(counts), common)
        assert np.array_equal(counts[common], plain[common]) and rare == np.count_nonzero(plain) - len(common)
        assert ("lower task.min_groups" in caplog.text) == (not common)


@pytest.mark.parametrize("min_count", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(text=TEXTS)
def test_what_was_known_stays_known(kind: str, min_count: int, text: str) -> None:
    whole, trimmed = tokenizer(kind), smaller(kind, min_count=min_count)
    known, still = pieces(whole, text), pieces(trimmed, text)
    assert ("<unk>" in still) <= ("<unk>" in known)
    if "<unk>" not in known:
        assert trimmed.decode(uncut(trimmed).encode(text).ids) == whole.decode(uncut(whole).encode(text).ids)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_follow_one_another_and_special_tokens_are_special(kind: str, frame: str) -> None:
    trimmed = smaller(kind, frame)
    assert sorted(trimmed.get_vocab().values()) == list(range(len(trimmed)))
    ids = uncut(trimmed).encode("fever").ids
    assert (ids[0], ids[-1]) == (trimmed.cls_token_id, trimmed.sep_token_id)
    assert {name: getattr(trimmed, name) for name in NAMES} == NAMES
    told = json.loads(trimmed.backend_tokenizer.to_str())
    assert told["padding"]["pad_id"] == trimmed.pad_token_id == trimmed.convert_tokens_to_ids("<pad>")
    assert trimmed.model_max_length == 77
    assert uncut(trimmed).encode("fever <mask>").ids.count(trimmed.mask_token_id) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_renumbered_in_their_order(kind: str) -> None:
    whole, trimmed = tokenizer(kind), smaller(kind)
    tokens = vocabulary_pruning.tokens_to_keep(whole, vocabulary_pruning.count_tokens(whole, READ))
    assert tokens == sorted(set(tokens)) and len(tokens) == len(trimmed)
    assert whole.convert_ids_to_tokens(tokens) == trimmed.convert_ids_to_tokens(range(len(tokens)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_cuts_as_before(kind: str, tmp_path: Path) -> None:
    trimmed = smaller(kind)
    trimmed.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.backend_tokenizer.to_str() == trimmed.backend_tokenizer.to_str()
    assert loaded.special_tokens_map == trimmed.special_tokens_map and loaded.model_max_length == 77
    assert all(pieces(loaded, text) == pieces(trimmed, text) for text in [*LEARNT, *READ])


@pytest.mark.parametrize("kind", KINDS)
def test_trimming_again_takes_nothing_away(kind: str) -> None:
    trimmed = smaller(kind)
    assert vocabulary_pruning.tokens_to_keep(trimmed, vocabulary_pruning.count_tokens(trimmed, READ)) == list(
        range(len(trimmed))
    )


def test_occurrences_are_those_of_whole_texts() -> None:
    whole = tokenizer("word_piece")
    texts = ["fever " * 50, "cough"] * 200
    counts = vocabulary_pruning.count_tokens(whole, texts)
    rows = RowCutter(whole, 10_000, Head())(texts).documents
    slow = np.zeros(len(whole), dtype=int)
    for token in (token for document in rows for row in document for token in row):
        slow[token] += 1
    assert counts.tolist() == slow.tolist() and counts.max() >= 50 * 200


def test_a_rarer_token_goes_where_more_is_asked() -> None:
    whole = tokenizer("word_piece")
    counts = vocabulary_pruning.count_tokens(whole, READ)
    sizes = [len(vocabulary_pruning.tokens_to_keep(whole, counts, least)) for least in (1, 2, 10**6)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_pieces_by_hand() -> None:
    """ab occurs; abc does not; xy holds the only x and y; the merge of abc goes with it, that of ab stays."""
    ids = {"[U]": 0, "a": 1, "##b": 2, "##c": 3, "ab": 4, "abc": 5, "b": 6, "xy": 7, "c": 8}
    word_piece = Tokenizer(models.WordPiece(ids, unk_token="[U]"))
    merges = [("a", "b"), ("ab", "c")]
    bpe = Tokenizer(models.BPE({"[U]": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "abc": 5}, merges, unk_token="[U]"))
    for model, expected in ((word_piece, [0, 1, 2, 3, 4, 6, 7, 8]), (bpe, [0, 1, 2, 3, 4])):
        own = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[U]")
        counts = vocabulary_pruning.count_tokens(own, ["ab"])
        assert vocabulary_pruning.tokens_to_keep(own, counts) == expected
        assert pieces(vocabulary_pruning.trim_tokenizer(own, expected), "abc") == (
            ["ab", "##c"] if model is word_piece else ["ab", "c"]
        )


def test_what_cannot_be_spelled_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "fever": 1, "cough": 2}, unk_token="<unk>"))
    own = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    with pytest.raises(ModelError, match="must be of type WordPiece, BPE, Unigram, got WordLevel"):
        vocabulary_pruning.tokens_to_keep(own, vocabulary_pruning.count_tokens(own, ["fever"]))
    with pytest.raises(ValueError, match="min_count must be >= 1, got 0"):
        vocabulary_pruning.tokens_to_keep(
            tokenizer("bytes"), vocabulary_pruning.count_tokens(tokenizer("bytes"), READ), 0
        )
