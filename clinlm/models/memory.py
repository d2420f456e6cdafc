"""`python -m clinlm.models.memory`: for every line of input, the MiB that running an artifact adds to a process.

That process has run no model before: freed memory is not returned to the system and would hide that of the next model.
`PeakMeter` starts one that imports the libraries, which takes seconds, and forks it for every measurement. Training has
no process to itself: `PeakGrowth` has freed memory returned first.
"""

import atexit
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self, final

import torch
from transformers import AutoConfig

from clinlm.models.artifact import load, read_spec
from clinlm.models.model import ModelSpec, Network
from clinlm.models.peak_memory import peak_mib

# The definitions below are part of the key of every stage; which library answers them is not.
if sys.platform == "win32":
    from clinlm.models import windows_memory as ctypes
if sys.platform != "win32":
    import ctypes

log = logging.getLogger(__name__)

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


_ANSWER, _FAILED = "peak", "failed"
_LIMIT_S, _END_S = 600.0, 10.0
"""Seconds for one measurement, imports included (a large model on a slow disk takes a minute), and to end."""


def main() -> None:
    """Answer every line, a folder, a number of tokens and packages as JSON, in a fork of this process.

    Where a process cannot be forked it answers one line itself, and ends.
    """
    for line in sys.stdin:
        request = json.loads(line)
        if not hasattr(os, "fork"):
            return _answer(*request)
        child = os.fork()
        if not child:
            status = 1
            try:
                _answer(*request)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            print(f"\n{_FAILED}", flush=True)


def _answer(folder: str, tokens: int, packages: Sequence[str]) -> None:
    for package in packages:
        importlib.import_module(package)
    # A line of its own: what libraries print may not end with one.
    print(f"\n{_ANSWER} {_growth(Path(folder), tokens)}", flush=True)


def _growth(folder: Path, tokens: int) -> float:
    """Load the model of a folder, run one row of random tokens, and return the rise in MiB."""
    spec = read_spec(folder)
    with torch.no_grad():
        # Code, thread pools and kernels are the libraries' memory: a minimal model of the same kind loads them first.
        run_random_row(minimal(spec).build(), 2)
        before = peak_mib()
        run_random_row(load(folder).network, tokens)
    return peak_mib() - before


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
class PeakMeter:
    """Measures the memory of artifacts in forks of one process, which it starts for the first and keeps."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self._killed = False
        atexit.register(self.close)

    def measure(self, folder: Path, tokens: int, packages: Sequence[str]) -> float | None:
        """Return the MiB by which loading the model of a folder and reading a row raises the memory of a process.

        Args:
            tokens: length of the row.
            packages: imported first, as loading needs them.

        Returns:
            the rise; None, with a warning, where there is no answer within `_LIMIT_S`.

        Raises:
            RuntimeError: it failed; with the last line of what the process said.
        """
        if self._process is not None and self._process.poll() is not None:  # somebody ended it
            self.close()
        if self._process is None:
            self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
            command = [sys.executable, "-m", "clinlm.models.memory"]
            pipe = subprocess.PIPE
            # In a session of its own, so that it can be ended together with its forks.
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._errors, text=True, start_new_session=True
            )
        assert self._process.stdin is not None and self._process.stdout is not None and self._errors is not None
        late = threading.Timer(_LIMIT_S, self._kill)  # a fork may hang in a lock that it inherited
        late.start()
        try:
            self._process.stdin.write(json.dumps([str(folder.absolute()), tokens, [*packages]]) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:  # libraries print there as well
                if line.startswith(f"{_ANSWER} "):
                    if not hasattr(os, "fork"):
                        self.close()
                    return float(line.split()[1])
                if line.strip() == _FAILED:
                    break
        finally:
            late.cancel()
        if self._killed:
            log.warning("the memory of %s is not measured: no answer within %g s", folder.name, _LIMIT_S)
            self.close()
            return None
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()[-1:]
        raise RuntimeError(f"the memory of {folder.name} cannot be measured: {''.join(said)}")

    def _kill(self) -> None:
        """End the process and its forks, which may be stopped, too."""
        self._killed = True
        if self._process is not None:
            if hasattr(os, "killpg"):
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None and self._errors is not None:
            try:
                self._process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                self._kill()
                self._process.communicate()
            self._errors.close()
            self._process = self._errors = None
            self._killed = False


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


if __name__ == "__main__":
    main()
