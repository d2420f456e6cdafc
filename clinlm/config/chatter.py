"""Routine messages of libraries, which are not printed: ours name every stage and every epoch."""

import logging
import warnings

_ERRORS_ONLY = ("lightning", "lightning.pytorch", "lightning.fabric", "httpx", "httpcore")
_WARNINGS_ONLY = (
    *("matplotlib", "fontTools", "PIL", "onnx_ir", "onnxscript", "torch.onnx", "filelock", "joblib"),
    *("botocore", "aiobotocore", "s3fs", "fsspec", "py4j"),
)

_ROUTINE = (
    # Batches come from memory, so workers would only copy them; LeafSpec is between Lightning and torch.
    ".*does not have many workers.*",
    ".*LeafSpec.*is deprecated.*",
    # Of Lightning, on every machine that can submit to SLURM: it starts no processes there.
    "The `srun` command is available",
)


def quiet_warnings() -> None:
    """Leave out warnings that every run would raise."""
    for message in _ROUTINE:
        warnings.filterwarnings("ignore", message=message)


def quiet_loggers() -> None:
    """Let libraries log what went wrong only. It imports none of them, and levels hold for what is imported later."""
    for names, level in ((_ERRORS_ONLY, logging.ERROR), (_WARNINGS_ONLY, logging.WARNING)):
        for name in names:
            logging.getLogger(name).setLevel(level)
