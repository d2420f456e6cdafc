"""Checks of settings: each error names the setting, the values that it allows and the value that it got."""

from collections.abc import Collection, Sequence
from typing import Any

from clinlm.config.errors import ConfigError


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ConfigError unless `value` >= `least`."""
    if not value >= least:
        raise ConfigError(f"{name} must be >= {least:g}, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise ConfigError unless `value` > 0."""
    if not value > 0:
        raise ConfigError(f"{name} must be > 0, got {value}")


def check_interval(name: str, value: float, interval: str, hint: str = "") -> None:
    """Raise ConfigError unless `value` lies in `interval`, written as "[0, 1)"; `hint` says what to do."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (above and below):
        raise ConfigError(f"{name} must be in {interval}, got {value}{hint and f'; {hint}'}")


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise ConfigError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def check_list(name: str, value: Sequence[str]) -> None:
    """Raise ConfigError if a list of names was written as one string."""
    if isinstance(value, str):
        raise ConfigError(f"{name} must be a list, got {value!r}; write {name}=[{value}]")
