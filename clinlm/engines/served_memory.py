"""`python -m clinlm.engines.served_memory FOLDER TOKENS ENGINE FILES [PACKAGE ...]`: memory of a process that answers.

Like `clinlm predict` it imports polars, a tokenizer and what the engine needs: torch only for an engine of torch.
"""

import importlib
import sys
from pathlib import Path

import numpy as np

from clinlm.engines.base import find_engine
from clinlm.models.peak_memory import peak_mib
from clinlm.text.stored_tokenizer import StoredTokenizer


def main() -> None:
    """Run one row of tokens through the model of a folder; print rise and peak of memory in MiB."""
    folder, tokens, engine = Path(sys.argv[1]), int(sys.argv[2]), find_engine(sys.argv[3])
    engine.files = tuple(sys.argv[4].split())
    for package in ("polars", *sys.argv[5:]):
        importlib.import_module(package)
    before = peak_mib()
    StoredTokenizer.load(folder)
    row = np.ones((1, tokens), dtype=np.int64)
    engine.open(folder)(row, row)
    print(peak_mib() - before, peak_mib())


if __name__ == "__main__":
    main()
