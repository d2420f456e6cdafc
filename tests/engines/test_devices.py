"""Laws of devices: every budget is the source's, and what does not fit says by how much."""

from typing import Any

import hydra
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.engines.devices import Device

SOURCE = {
    "jetson_orin": (16, 500_000_000),
    "jetson_nano": (4, 100_000_000),
    "raspberry_pi_5": (8, 50_000_000),
    "smartphone": (6, 50_000_000),
    "cortex_m7": (1 / 1024, 500_000),
}
"""GB of memory, and bytes of the largest model, as S4 prints them."""
ENGINES = {path.stem for path in CONF.glob("engine/*.yaml")} - {"none", "auto"}


def composed(*overrides: str) -> Any:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def device(name: str) -> Device:
    made: Device = instantiate(OmegaConf.load(CONF / "device" / f"{name}.yaml"))
    return made


def test_all_devices_are_all_and_one_is_one() -> None:
    known = {path.stem for path in CONF.glob("device/*.yaml")} - {"all"}
    assert set(composed().device) == known == {*SOURCE, "laptop"}
    chosen = composed("device=laptop", "device.laptop.ram_mib=4096").device
    assert set(chosen) == {"laptop"} and chosen.laptop.ram_mib == 4096


@pytest.mark.parametrize("name", SOURCE)
def test_budgets_are_those_of_the_source(name: str) -> None:
    made = device(name)
    assert (made.ram_mib / 1024, made.model_bytes) == SOURCE[name] and made.runtime


@pytest.mark.parametrize("name", [*SOURCE, "laptop"])
def test_a_model_within_the_budgets_fits_and_one_beyond_says_by_how_much(name: str) -> None:
    made = device(name)
    assert set(made.engines) <= ENGINES
    engine = made.engines[0] if made.engines else "torch"
    exact = made.fit(made.model_bytes, float(made.ram_mib), engine)
    assert exact.fits is bool(made.engines) and exact.over_bytes == exact.over_mib == 0
    big, hungry = made.fit(made.model_bytes + 1, 0.5, engine), made.fit(1, made.ram_mib + 3.0, engine)
    assert big.fits is False and big.over_bytes == 1 and big.over_mib is not None and big.over_mib < 0
    assert hungry.fits is False and hungry.over_mib == 3.0 and "3.0 over" in hungry.line()
    assert all("does not fit" in own.line() for own in (big, hungry))


def test_memory_that_was_not_measured_is_not_guessed() -> None:
    unknown = device("laptop").fit(1_000_000, None, "torch")
    assert unknown.fits is None and unknown.over_mib is None
    assert "fits on disk: 1 of 500 MB" in unknown.line() and "memory not measured" in unknown.line()
    assert device("laptop").fit(600_000_000, None, "torch").fits is False


def test_an_engine_that_is_not_there_is_told() -> None:
    phone = device("smartphone").fit(4_000_000, 20.0, "torch")
    assert phone.fits and "torch does not run there: use engine=onnxruntime" in phone.line()
    chip = device("cortex_m7").fit(400_000, 0.5, "torch")
    assert chip.fits is False and chip.over_bytes < 0
    assert chip.line().startswith("Cortex-M7: cannot run: ")
    assert "our engines do not run there" in chip.line() and "0.4 of 0.5 MB on disk (0.1 to spare)" in chip.line()


@pytest.mark.parametrize(("ram", "room"), [(0, 1), (1, 0), (-1, 1)])
def test_a_device_has_room(ram: float, room: int) -> None:
    with pytest.raises(ValueError, match="ram_mib and model_bytes of .* must be > 0"):
        Device("toy", ram, room, "none")
