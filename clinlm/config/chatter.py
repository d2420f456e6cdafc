"""Routine messages of libraries, which are not printed: ours name every stage and every epoch."""

import logging

_ERRORS_ONLY = ("lightning", "lightning.pytorch", "lightning.fabric", "httpx", "httpcore")
_WARNINGS_ONLY = ("matplotlib", "fontTools", "PIL", "onnx_ir", "onnxscript", "torch.onnx", "filelock", "joblib")


def quiet_loggers() -> None:
    """Let libraries log what went wrong only. It imports none of them, and levels hold for what is imported later."""
    for names, level in ((_ERRORS_ONLY, logging.ERROR), (_WARNINGS_ONLY, logging.WARNING)):
        for name in names:
            logging.getLogger(name).setLevel(level)
