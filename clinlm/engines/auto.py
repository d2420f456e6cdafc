"""An auction between the engines."""

import logging
from collections.abc import Sequence
from typing import final

from clinlm.engines.base import NAMES, Engine, find_engine
from clinlm.engines.torch import Torch
from clinlm.engines.torch_compiled import TorchCompiled

log = logging.getLogger(__name__)


@final
class Auto:
    """Every engine that is installed: the fastest on this processor is kept, the others' figures are told.

    Eager torch, which runs the artifact itself, is timed beside them anyway. `torch_compiled` is tried only if it is
    named: it compiles anew in every process, which took a minute and more before the first answer.

    Args:
        engines: names of those to try; None for those above.
        tolerance, integer_tolerance, mean_tolerance, agreement: see `Engine`; the same for all.

    Raises:
        ValueError: one is not there, or they are no list.
        ImportError: none of them is installed.
    """

    def __init__(
        self,
        engines: Sequence[str] | None = None,
        tolerance: float = 0.001,
        integer_tolerance: float = 0.25,
        mean_tolerance: float = 0.005,
        agreement: float = 0.995,
    ) -> None:
        if isinstance(engines, str):
            raise ValueError(f"engine.engines is a list of names; got {engines!r}; write engine.engines=[{engines}]")
        exporting = [name for name in NAMES if name not in (Torch.name, TorchCompiled.name)]
        limits = (tolerance, integer_tolerance, mean_tolerance, agreement)
        chosen = [find_engine(name, *limits) for name in engines or exporting]
        self._found = [one for one in chosen if not one.missing()]
        for one in chosen:
            if one.missing():
                log.info("engine %s is left out, as it needs %s", one.name, one.missing())
        if not self._found:
            raise ImportError(
                f"engine=auto tries the engines that are installed; of {', '.join(one.name for one in chosen)} there "
                "is none; run pip install 'clinlm[onnxruntime,openvino]', or set engine=none"
            )

    def candidates(self) -> Sequence[Engine]:
        """See `EngineSelection.candidates`."""
        return self._found
