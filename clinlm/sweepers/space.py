"""The search space of an optimiser, in Hydra's own override grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, final

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from clinlm.config.errors import ConfigError
from clinlm.config.extras import imported

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@final
@dataclass(frozen=True)
class Space:
    """The overrides of a sweep: those that are constant, and those that vary.

    Attributes:
        constants: overrides of every trial.
        distributions: override key (with its `+`, if any) -> distribution of its values. The choices of a categorical
            distribution are strings of the override grammar, so that lists and quoted strings survive.
    """

    constants: tuple[str, ...]
    distributions: Mapping[str, BaseDistribution]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial; floats at full precision, so that the trial can be repeated."""
        return [*self.constants, *(f"{name}={values[name]}" for name in self.distributions)]

    def probes(self) -> list[list[str]]:
        """Return the overrides of a few trials that together cover every choice and both ends of every range."""
        ends = {name: _ends(distribution) for name, distribution in self.distributions.items()}
        first = {name: values[0] for name, values in ends.items()}
        others = [first | {name: value} for name, values in ends.items() for value in values[1:]]
        return [self.overrides(values) for values in [first, *others]]

    def as_json(self) -> dict[str, str]:
        """Return the distributions as JSON by key."""
        to_json = imported("optuna", "optuna").distributions.distribution_to_json
        return {name: to_json(distribution) for name, distribution in self.distributions.items()}


def read_space(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader | None = None) -> Space:
    """Read the search space.

    `a,b`, `choice(a,b)` and `glob(*)` are choices without order; `range(1,9,2)` and `int(interval(1,9))` are integers;
    `interval(0.1,0.8)` and `interval(0,1)` are floats, since Hydra's grammar makes the bounds floats unless they are
    within `int()`; `tag(log, ...)` samples the logarithm. Any other override is constant.

    Args:
        params: `hydra.sweeper.params`: key -> text of the value.
        arguments: overrides from the command line, which take precedence over `params`.
        loader: lists the options for `glob`.

    Raises:
        ConfigError: nothing varies, or a range is empty or invalid.
        hydra.errors.HydraException: an override that cannot be parsed.
    """
    lines = [f"{name}={'null' if value is None else value}" for name, value in params.items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*lines, *arguments])
    last = {override.get_key_element(): override for override in parsed}
    swept = {name: override for name, override in last.items() if override.is_sweep_override()}
    if not swept:
        raise ConfigError(
            "an optimising sweep must vary a setting, got one value for each; give one a range, such as "
            "'prune.ratio=interval(0.1,0.8)'"
        )
    constants = tuple(str(override.input_line) for name, override in last.items() if name not in swept)
    return Space(constants, {name: distribution(override) for name, override in swept.items()})


def distribution(override: Override) -> BaseDistribution:
    """Return the distribution of the values of an override; see `read_space`.

    Raises:
        ConfigError: it is empty or invalid.
    """
    value: Any = override.value()
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"} or (tags and override.is_choice_sweep()):
        raise ConfigError(
            f"only ranges may have a tag, and only the tag log, got {', '.join(sorted(tags))} in "
            f"{override.input_line!r}; remove it"
        )
    try:
        found: BaseDistribution = _distribution(override, value, bool(tags))
    except ValueError as error:
        raise ConfigError(
            f"a range must contain a value, with the lower bound first, above 0 if it is tagged log, got "
            f"{override.input_line!r} ({error})"
        ) from error
    return found


def _distribution(override: Override, value: Any, log: bool) -> Any:
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


def _ends(found: Any) -> list[Any]:
    return list(found.choices) if hasattr(found, "choices") else list(dict.fromkeys((found.low, found.high)))
