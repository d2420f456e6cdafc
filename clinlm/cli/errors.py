"""What a command prints when it fails: one paragraph for an error that the user can fix, a traceback for a bug."""

import errno
import os
import sys
import traceback
from typing import NoReturn

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from clinlm.config.errors import ClinlmError
from clinlm.config.remedies import explain, is_null_group

BUG = "This is a bug in clinlm. Please report it with the traceback above and the command that you ran."
_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = (
    os.strerror(errno.ENOSPC),
    "Disk quota exceeded",
    "PytorchStreamWriter failed writing",
    "database or disk is full",
)
"""What safetensors, polars, torch and SQLite say of a full disk, in errors of their own."""
_OWN = ("'clinlm.", "'callbacks.")


def report(error: BaseException, program: str) -> NoReturn:
    """Print `error` for the user of `program`, and exit.

    An error that the user can fix is one paragraph and exit status 1 (3 where a gate failed); a bug is its traceback
    and a line that asks to report it. `HYDRA_FULL_ERROR=1` shows the traceback of both.
    """
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, KeyboardInterrupt):
        kept = ": finished stages are reused, others go on from their last checkpoint" * (program == "clinlm")
        print(f"{program}: stopped; run the same command to continue{kept}", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it ends
        print(f"{program}: output pipe closed; the output is incomplete", file=sys.stderr)
        sys.exit(1)
    cause = _full_disk(_unwrapped(error))
    status = getattr(cause, "exit_status", 1)
    fixable = isinstance(cause, Exception) and is_fixable(cause)
    if not fixable or (os.environ.get("HYDRA_FULL_ERROR") and status == 1):
        traceback.print_exception(error)
    if fixable:
        hint = "" if os.environ.get("HYDRA_FULL_ERROR") else "\n(HYDRA_FULL_ERROR=1 shows the traceback)"
        print(f"{program}: {explain(cause)}{hint}", file=sys.stderr)
    else:
        print(f"\n{program}: {BUG}", file=sys.stderr)
    sys.exit(status)


def is_fixable(error: Exception) -> bool:
    """Return whether the user can fix what `error` says: a setting, a file, a model, a server, a missing package."""
    if isinstance(error, InstantiationException):  # raised by what is instantiated: ours, a library's, or the call
        return not isinstance(error.__cause__, Exception) or _is_refused_setting(error)
    if isinstance(error, OSError):
        named = error.filename is not None or error.errno in _DISK_FULL
        return named or (error.errno is None and bool(error.args))  # or a library's sentence, such as of a model hub
    return isinstance(error, (ClinlmError, HydraException, OmegaConfBaseException)) or is_null_group(error)


def _unwrapped(error: BaseException) -> BaseException:
    """Return the error of a constructor that Hydra wraps in an error of its own, if the user can fix it."""
    cause = error.__cause__
    if isinstance(error, InstantiationException) and isinstance(cause, (ClinlmError, OSError, InstantiationException)):
        return _unwrapped(cause)
    return error


def _full_disk(error: BaseException) -> BaseException:
    """Return a library's own error of a full disk as the OSError that it is; any other error as it is."""
    if isinstance(error, ClinlmError | OSError) or not any(words in str(error) for words in _FULL_WORDS):
        return error
    full = OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({type(error).__name__})")
    full.__cause__ = error
    return full


def _is_refused_setting(error: InstantiationException) -> bool:
    """Return whether a setting does not fit a signature, or a library's constructor refuses its value."""
    if isinstance(error.__cause__, TypeError) and "argument" in str(error.__cause__):
        return True
    return isinstance(error.__cause__, (TypeError, ValueError)) and not any(name in str(error) for name in _OWN)
