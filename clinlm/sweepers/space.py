"""What an optimiser may vary, read from Hydra's own override grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, final

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from clinlm.config.extras import imported

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@final
@dataclass(frozen=True)
class Space:
    """The overrides of a sweep, parted into what stays and what varies.

    Attributes:
        constants: given to every trial as they were typed.
        distributions: override key (with its `+`, if any) -> what its values are drawn from. The choices of a
            categorical distribution are strings of the override grammar, so that lists and quoted strings survive.
    """

    constants: tuple[str, ...]
    distributions: Mapping[str, BaseDistribution]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Return the overrides of the trial that has `values`; floats at full precision, so that they can be typed."""
        return [*self.constants, *(f"{name}={values[name]}" for name in self.distributions)]

    def probes(self) -> list[list[str]]:
        """Return the overrides of a few trials that together hold every choice and both ends of every number."""
        ends = {name: _ends(one) for name, one in self.distributions.items()}
        first = {name: values[0] for name, values in ends.items()}
        others = [first | {name: value} for name, values in ends.items() for value in values[1:]]
        return [self.overrides(values) for values in [first, *others]]

    def described(self) -> dict[str, str]:
        """Return the distributions as JSON by key."""
        to_json = imported("optuna", "optuna").distributions.distribution_to_json
        return {name: to_json(one) for name, one in self.distributions.items()}


def read(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader | None = None) -> Space:
    """Read the search space.

    `a,b`, `choice(a,b)` and `glob(*)` are choices without order; `range(1,9,2)` and `int(interval(1,9))` are whole
    numbers; `interval(0.1,0.8)` is a real number, also between `interval(0,1)`: Hydra's grammar makes its bounds floats
    unless `int()` stands around it; `tag(log, ...)` draws from the logarithm. Anything else stays as it is.

    Args:
        params: `hydra.sweeper.params`: key -> text of the value.
        arguments: overrides from the command line; they win over `params`.
        loader: knows the options that `glob` means.

    Raises:
        ValueError: nothing varies, or a range that holds nothing or cannot be drawn from.
        hydra.errors.HydraException: an override that cannot be parsed.
    """
    lines = [f"{name}={'null' if value is None else value}" for name, value in params.items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*lines, *arguments])
    last = {one.get_key_element(): one for one in parsed}
    swept = {name: one for name, one in last.items() if one.is_sweep_override()}
    if not swept:
        raise ValueError(
            "an optimiser needs something to vary; every setting has one value; give one a range, such as "
            "'prune.ratio=interval(0.1,0.8)'"
        )
    constants = tuple(str(one.input_line) for name, one in last.items() if name not in swept)
    return Space(constants, {name: distribution(one) for name, one in swept.items()})


def distribution(override: Override) -> BaseDistribution:
    """Return what the values of one override of the grammar are drawn from; see `read`.

    Raises:
        ValueError: it holds nothing, or cannot be drawn from.
    """
    value: Any = override.value()
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"} or (tags and override.is_choice_sweep()):
        raise ValueError(
            f"a range may have the tag log, and choices have none; {override.input_line!r} has "
            f"{', '.join(sorted(tags))}; take it away"
        )
    try:
        drawn: BaseDistribution = _drawn(override, value, bool(tags))
    except ValueError as error:
        raise ValueError(
            f"a range holds at least one value, the lower bound first, and above 0 if it is tagged log; "
            f"{override.input_line!r} does not ({error})"
        ) from error
    return drawn


def _drawn(override: Override, value: Any, log: bool) -> Any:
    kinds = imported("optuna", "optuna").distributions
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return (kinds.IntDistribution if whole else kinds.FloatDistribution)(value.start, value.end, log=log)
    if override.is_range_sweep():
        return _range(list(value.range()), value.step, log, kinds)
    return kinds.CategoricalDistribution(tuple(override.sweep_string_iterator()))


def _range(points: list[int] | list[float], step: float, log: bool, kinds: Any) -> Any:
    if not points:
        raise ValueError("it is empty")
    low = min(points)
    if isinstance(low, int):
        return kinds.IntDistribution(low, max(points), log=log, step=abs(step))
    # As decimals: 0.1 + 0.1 + 0.1 is more than 0.3 in binary, and a range that misses its end by a bit loses it.
    low = float(f"{low:.12g}")
    high = Decimal(str(low)) + (len(points) - 1) * abs(Decimal(str(step)))
    return kinds.FloatDistribution(low, float(high), log=log, step=abs(step))


def _ends(one: Any) -> list[Any]:
    return list(one.choices) if hasattr(one, "choices") else list(dict.fromkeys((one.low, one.high)))
