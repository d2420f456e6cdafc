"""clinlm: compress clinical language models, and prove what it cost."""

from clinlm.config.telemetry import disable_telemetry

__version__ = "0.1.0"

disable_telemetry()  # here, because Python runs this file before any other of clinlm, in every process
