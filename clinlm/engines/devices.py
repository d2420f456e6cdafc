"""Budgets of target devices, and whether a model fits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ConfigError


@final
@dataclass(frozen=True)
class Device:
    """Budgets of a device ("clinical edge deployment", "Target Edge Hardware"; conf/device marks numbers of our own).

    Attributes:
        ram_mib: total memory in MiB; the paper's GB are powers of two.
        model_bytes: largest model on disk; the paper's MB are 10^6 bytes.
        runtime: of the paper.
        engines: our engines that exist for it.
        answer: which of our exports serves `runtime`, or why none does.

    Raises:
        ConfigError: a budget is not positive.
    """

    name: str
    ram_mib: float
    model_bytes: int
    runtime: str
    engines: Sequence[str] = ()
    answer: str = ""

    def __post_init__(self) -> None:
        if not (self.ram_mib > 0 and self.model_bytes > 0):
            raise ConfigError(
                f"ram_mib and model_bytes of {self.name} must be > 0, got {self.ram_mib} and {self.model_bytes}; set "
                "device.NAME.ram_mib and device.NAME.model_bytes"
            )

    def fit(self, bytes: int, peak_mib: float | None, engine: str) -> "Fit":
        """Return the comparison of a model with the budgets.

        Args:
            bytes: of the deployment on disk.
            peak_mib: peak memory of a process that ran it, libraries included, measured on this machine; None if it was
                not measured. The operating system needs more.
        """
        return Fit(self, bytes, peak_mib, engine)


@final
@dataclass(frozen=True)
class Fit:
    """A model on a device.

    Attributes:
        peak_mib: peak memory; None if it was not measured.
    """

    device: Device
    bytes: int
    peak_mib: float | None
    engine: str

    @property
    def over_bytes(self) -> int:
        """Bytes above the budget; negative if there is room."""
        return self.bytes - self.device.model_bytes

    @property
    def over_mib(self) -> float | None:
        """MiB above the memory; negative if there is room, None if memory was not measured."""
        return None if self.peak_mib is None else self.peak_mib - self.device.ram_mib

    @property
    def fits(self) -> bool | None:
        """Whether it can run there: size and memory fit, and one of our engines exists for the device.

        None if only the memory is unknown.
        """
        if not self.device.engines or self.over_bytes > 0 or (self.over_mib is not None and self.over_mib > 0):
            return False
        return None if self.over_mib is None else True

    def line(self) -> str:
        """Return name, verdict and margins: "Raspberry Pi 5: fits: 4.1 of 50 MB (...), ..."."""
        over = self.over_bytes > 0 or (self.over_mib or 0) > 0
        verdict = {True: "fits", False: "does not fit" if over else "cannot run", None: "fits on disk"}[self.fits]
        runtime = f"; {self.device.runtime}: {self.device.answer}" if self.device.answer else ""
        return f"{self.device.name}: {verdict}: {self._size()}, {self._memory()}, {self._engine()}{runtime}"

    def _size(self) -> str:
        sign = "over" if self.over_bytes > 0 else "to spare"
        return f"{_mb(self.bytes)} of {_mb(self.device.model_bytes)} MB on disk ({_mb(abs(self.over_bytes))} {sign})"

    def _memory(self) -> str:
        if self.peak_mib is None or self.over_mib is None:
            return f"memory not measured (of {self.device.ram_mib:,.0f} MiB)"
        sign = "over" if self.over_mib > 0 else "to spare"
        return f"{self.peak_mib:,.1f} of {self.device.ram_mib:,.0f} MiB of memory ({abs(self.over_mib):,.1f} {sign})"

    def _engine(self) -> str:
        if self.engine in self.device.engines:
            return f"{self.engine} runs there"
        if not self.device.engines:
            return f"our engines do not run there: they need an operating system, it needs {self.device.runtime}"
        return f"{self.engine} does not run there: use {' or '.join(f'engine={e}' for e in self.device.engines)}"


def _mb(bytes: int) -> str:
    """Return MB (10^6 bytes) with three significant digits."""
    return f"{bytes / 1e6:,.0f}" if bytes >= 1e8 else f"{bytes / 1e6:.3g}"
