"""Selection of the fastest engine whose predictions match the artifact's."""

import logging
from collections.abc import Sequence
from typing import final

from clinlm.config.errors import MissingExtraError
from clinlm.config.ranges import check_list
from clinlm.engines.base import Engine, find_engine, on_onnx

log = logging.getLogger(__name__)
_DEFAULT = ("onnxruntime", "openvino", "folded")


@final
class Auto:
    """All installed engines: the fastest on this processor is kept, the figures of the others are reported.

    Where other processes use more than a tenth of the cores, processor time decides, for the clock measures them too.

    Eager torch, which runs the artifact itself, is always timed too. `torch_compiled` is tried only if it is named: it
    compiles in every new process, which takes a minute or more before the first prediction.

    Engines that read `model.onnx` export that file, so that the one that is faster elsewhere can answer there; see
    `clinlm.engines.selection`.

    Args:
        engines: engines to try, see `find_engine`; None for ONNX Runtime, OpenVINO and `folded`.
        tolerance, integer_tolerance, mean_tolerance, agreement: see `Engine`; the same for all.

    Raises:
        ConfigError: `engines` is not a list, or has an unknown engine.
        MissingExtraError: none of them is installed.
    """

    def __init__(
        self,
        engines: Sequence[str] | None = None,
        tolerance: float = 0.001,
        integer_tolerance: float = 0.25,
        mean_tolerance: float = 0.005,
        agreement: float = 0.995,
    ) -> None:
        if engines is not None:
            check_list("engine.engines", engines)
        limits = (tolerance, integer_tolerance, mean_tolerance, agreement)
        wanted = [find_engine(name, *limits) for name in engines or _DEFAULT]
        wanted = [on_onnx(engine) if engine.reads_onnx else engine for engine in wanted]
        self._installed = [engine for engine in wanted if not engine.missing()]
        for engine in wanted:
            if engine.missing():
                log.info("engine %s is skipped: it needs %s", engine.name, engine.missing())
        if not any(engine.architectures is None or engines is not None for engine in self._installed):
            general = [engine.name for engine in wanted if engine.architectures is None or engines is not None]
            raise MissingExtraError(
                f"engine=auto needs at least one of {', '.join(general)}, none is installed; "
                "run pip install 'clinlm[onnxruntime,openvino]', or set engine=none"
            )

    def candidates(self) -> Sequence[Engine]:
        """Return the installed engines."""
        return self._installed
