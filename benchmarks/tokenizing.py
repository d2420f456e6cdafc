"""Milliseconds to tokenise one note of MTSamples: the prefix that a row reads, against the whole note.

python benchmarks/tokenizing.py [--documents 400] [--rounds 5]

The tokenizer is MiniLM's, the rows those of long_notes=head, one note at a time on one thread. `served` is what `clinlm
predict` and the latencies of reports use: words looked up (`clinlm.text.plain_rows`), and for other notes the next;
`prefix` is `clinlm.text.tokens.RowCutter`, which training uses; `whole` encodes all of the note and cuts it afterwards;
`ids` is the tokenizer alone on a prefix that has already been cut. Told are core-milliseconds a note; rounds alternate.
The rows of all three are compared on all notes.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from statistics import median

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from paired import Curve, Row, machine, minilm, notes, tell
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from clinlm.text.long_notes import Head
from clinlm.text.plain_rows import PlainRowCutter
from clinlm.text.tokens import RowCutter, before_space, uncut

LENGTHS = (64, 128, 256, 512)


def ways(tokenizer: PreTrainedTokenizerBase, tokens: int, texts: Sequence[str]) -> dict[str, Callable[[str], object]]:
    """Return what is timed, by name: from a text to rows of at most `tokens`."""
    plain = PlainRowCutter.of(tokenizer, tokens, Head())
    assert plain is not None
    prefix, whole = (RowCutter(tokenizer, tokens, Head()) for _ in range(2))
    whole._read = None
    bare, parts = uncut(tokenizer), {text: before_space(text, 5 * (tokens - 1)) for text in texts}

    def ids(text: str) -> object:
        return bare.encode_batch_fast([parts[text]], add_special_tokens=False)[0].ids

    return {
        "served": lambda text: plain(text) or prefix([text]).documents[0],
        "prefix": lambda text: prefix([text]).documents[0],
        "whole": lambda text: whole([text]).documents[0],
        "ids": ids,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    source, every, _ = notes()
    texts = random.Random(0).sample(every, min(given.documents, len(every)))
    print(
        f"{machine()}\n{len(texts)} of {len(every)} notes ({source}), median {int(median(map(len, texts)))} characters"
    )
    found: dict[str, list[list[float]]] = {}
    for tokens in LENGTHS:
        own = ways(tokenizer, tokens, texts)
        for way in own.values():
            way(texts[0])
        costs: dict[str, list[float]] = {name: [] for name in own}
        for _ in range(given.rounds):
            for name, way in own.items():
                costs[name].append(1000 * seconds(way, texts) / len(texts))
        for name, each in costs.items():
            found.setdefault(name, []).append(each)
        equal = sum(own["served"](text) == own["prefix"](text) == own["whole"](text) for text in every)
        print(f"{tokens:4} tokens: the rows of all three are equal on {equal:,} of {len(every):,} notes")
    rows: list[Row | Curve] = []
    for name in ("served", "prefix"):
        for tokens, ours, theirs in zip(LENGTHS, found[name], found["whole"], strict=True):
            rows.append(Row.of(f"tokenising to {tokens} tokens, {name}", "whole, then cut", "ms/note", ours, theirs))
        medians = [tuple(map(median, found[own])) for own in (name, "whole")]
        rows.append(Curve(f"tokenising, {name}", "tokens", "whole, then cut", LENGTHS, *medians))
    tell(rows)
    print(machine())


def seconds(way: Callable[[str], object], texts: Sequence[str]) -> float:
    """Return the core-seconds in which a way reads all texts."""
    began = time.process_time()
    for text in texts:
        way(text)
    return time.process_time() - began


if __name__ == "__main__":
    main()
