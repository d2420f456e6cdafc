"""Libraries that report how they are used: switched off before the first of them is imported."""

import os

NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29, on Linux and macOS too; read when it is imported
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, peft; read when they are imported
    "DO_NOT_TRACK": "1",  # huggingface_hub heeds it as well, and so do other libraries
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",  # of a Ray that clinlm starts; one that runs already has its own
    "GRADIO_ANALYTICS_ENABLED": "False",  # trackio shows its dashboard with gradio
    "WANDB_ERROR_REPORTING": "false",  # wandb sends its own errors to its developers, and an error may hold data
}
"""Environment variable -> its value. Nothing set before makes them less strict: each has one value that is right here.

`import openvino` heeds no variable: see `clinlm.engines.openvino`.
"""


def disable_telemetry() -> None:
    """Set `NO_TELEMETRY` in this process, and so in all that it starts."""
    os.environ.update(NO_TELEMETRY)
