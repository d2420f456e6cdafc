"""clinlm: compress clinical language models, and prove what it cost."""

import time

from clinlm.config.private_caches import privatize_caches
from clinlm.config.telemetry import disable_telemetry

__version__ = "0.1.0"
STARTED = time.time()
"""When this process began to import clinlm: Python runs this file before any other of it."""

disable_telemetry()  # both here, for the same reason
privatize_caches()
