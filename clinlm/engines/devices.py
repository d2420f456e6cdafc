"""Where a model is to run: the budgets of devices, and whether a model fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Device:
    """What a device can hold (S4, "Target Edge Hardware"; conf/device says where numbers are ours).

    Attributes:
        name: in words.
        ram_mib: all of its memory, in MiB: S4's GB are the powers of two that memory is sold in.
        model_bytes: of the largest model, on disk: S4's MB are 10^6 bytes.
        runtime: what S4 runs there.
        engines: those of ours that exist for it.

    Raises:
        ValueError: a budget is not positive.
    """

    name: str
    ram_mib: float
    model_bytes: int
    runtime: str
    engines: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not (self.ram_mib > 0 and self.model_bytes > 0):
            raise ValueError(
                f"a device has memory and room for a model; {self.name} came with {self.ram_mib} MiB and "
                f"{self.model_bytes} bytes; set device.NAME.ram_mib and device.NAME.model_bytes"
            )

    def fit(self, bytes: int, peak_mib: float | None, engine: str) -> "Fit":
        """Return how a model stands to the budgets.

        Args:
            bytes: of what is deployed, on disk.
            peak_mib: most MiB of memory of a process that opened it and answered, libraries included, measured here;
                None if nobody did. The system's own comes on top.
            engine: what ran it: `torch`, `torch_compiled`, `onnxruntime` or `openvino`.
        """
        return Fit(self, bytes, peak_mib, engine)


@final
@dataclass(frozen=True)
class Fit:
    """A model on a device.

    Attributes:
        device: the device.
        bytes: of the model on disk.
        peak_mib: of memory; None if it was not measured.
        engine: what ran it.
    """

    device: Device
    bytes: int
    peak_mib: float | None
    engine: str

    @property
    def over_bytes(self) -> int:
        """Bytes above the largest model allowed; negative where there is room."""
        return self.bytes - self.device.model_bytes

    @property
    def over_mib(self) -> float | None:
        """MiB above the memory there is; negative where there is room, None where memory was not measured."""
        return None if self.peak_mib is None else self.peak_mib - self.device.ram_mib

    @property
    def fits(self) -> bool | None:
        """Whether it can run there: size and memory fit, and an engine of ours exists, be it another one.

        None where nothing forbids it, but memory was not measured.
        """
        if not self.device.engines or self.over_bytes > 0 or (self.over_mib is not None and self.over_mib > 0):
            return False
        return None if self.over_mib is None else True

    def line(self) -> str:
        """Return name, verdict, and by how much: "Raspberry Pi 5: fits: 4.1 of 50 MB (...), ..."."""
        verdict = {True: "fits", False: "does not fit", None: "fits on disk"}[self.fits]
        return f"{self.device.name}: {verdict}: {self._size()}, {self._memory()}, {self._engine()}"

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
            return f"no engine of ours runs there: they need an operating system, it takes {self.device.runtime}"
        return f"{self.engine} does not run there: take {' or '.join(f'engine={e}' for e in self.device.engines)}"


def _mb(bytes: int) -> str:
    """MB of 10^6 bytes with three digits that count; small ones are not rounded away."""
    return f"{bytes / 1e6:,.0f}" if bytes >= 1e8 else f"{bytes / 1e6:.3g}"
