"""`python -m clinlm.models.memory FOLDER TOKENS PACKAGE...`: print the MiB that running an artifact adds to a process.

A fresh process: freed memory is not returned to the system and would hide that of the next model. Training cannot have
one: `PeakGrowth` has freed memory returned first.
"""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, final

import torch
from transformers import AutoConfig

from clinlm.models.artifact import load, read_spec
from clinlm.models.model import ModelSpec, Network

# The definitions below are part of the key of every stage; which library answers them is not.
if sys.platform == "win32":
    from clinlm.models import windows_memory as ctypes
    from clinlm.models import windows_memory as resource
if sys.platform != "win32":
    import ctypes
    import resource

_SMALL = {
    "hidden_size": 4,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "intermediate_size": 4,
    "vocab_size": 8,
    "dim": 4,
    "n_heads": 1,
    "hidden_dim": 4,
}
"""Sizes under their names in the configurations of BERT-like models and of DistilBERT. The number of layers stays: some
families (ModernBERT, Longformer) have a list with an entry for each."""


def main() -> None:
    """Load the model of the folder on the command line, run one row of random tokens, print the rise in MiB."""
    folder, tokens = Path(sys.argv[1]), int(sys.argv[2])
    for package in sys.argv[3:]:
        importlib.import_module(package)
    spec = read_spec(folder)
    with torch.no_grad():
        # Code, thread pools and kernels are the libraries' memory: a minimal model of the same kind loads them first.
        run_random_row(minimal(spec).build(), 2)
        before = peak_mib()
        run_random_row(load(folder).network, tokens)
    print(peak_mib() - before)


def minimal(spec: ModelSpec) -> ModelSpec:
    """Return the description of a network of the same kind with the smallest widths."""
    small = {name: value for name, value in _SMALL.items() if name in spec.config}
    padding = AutoConfig.for_model(**spec.config).pad_token_id
    if padding is not None and padding >= _SMALL["vocab_size"]:
        small["pad_token_id"] = 0
    return replace(spec, config={**spec.config, **small})


def run_random_row(network: Network, tokens: int) -> None:
    """Run the network on one row of random tokens."""
    config: Any = network.body.config
    row = torch.randint(0, config.vocab_size, (1, tokens))
    network(row, torch.ones_like(row))


@final
class PeakGrowth:
    """Measures by how much the memory of a block rises above that before it.

    With a GPU it is the GPU's memory, as torch allocates it. Otherwise it is the resident memory of this process, of
    which Linux lets the peak be reset; elsewhere nothing is measured.

    Attributes:
        mib: the rise; None before the end of the block, and where it cannot be measured.
    """

    def __init__(self) -> None:
        self.mib: float | None = None
        self._before: float | None = None

    def __enter__(self) -> Self:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / 1024**2
        elif _reset_peak():
            self._before = peak_mib()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            cuda = torch.cuda.is_available()
            self.mib = (torch.cuda.max_memory_allocated() / 1024**2 if cuda else peak_mib()) - self._before


def _reset_peak() -> bool:
    """Return freed memory to the system and make the peak the present memory; return whether that was possible."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (AttributeError, OSError):  # no glibc, or no /proc
        return False
    return True


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB.

    Linux's `ru_maxrss` survives exec and would report the parent's peak, so /proc is read if it exists.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # bytes on macOS


if __name__ == "__main__":
    main()
