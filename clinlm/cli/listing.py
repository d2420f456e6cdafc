"""The command `clinlm list [GROUP]`: experiments, sweeps and pipelines, or the options of a group, a line each."""

import sys
from collections.abc import Sequence
from shutil import get_terminal_size

from clinlm.cli.options import ConfigOptions

_SHOWN = {"experiment": "+experiment=", "sweep": "+sweep=", "pipeline": "pipeline="}
_HELP = """clinlm list: what a command line can choose.

  clinlm list              experiments, sweeps and pipelines
  clinlm list GROUP        the options of a group, such as prune or model
"""


def list_command(arguments: Sequence[str]) -> None:
    """Print experiments, sweeps and pipelines, or the options of one group.

    Raises:
        ConfigError: there is no such group.
    """
    if {"-h", "--help"} & {*arguments}:
        print(_HELP, end="")
        return
    options = ConfigOptions.of(arguments)
    groups = [word for word in arguments if word in options.groups()]
    others = [word for word in arguments if word not in groups and not word.startswith("-")]
    others = [word for word in others if not ("--config-dir" in arguments and "/" in word)]
    if others:
        from clinlm.config.errors import ConfigError
        from clinlm.config.near_names import did_you_mean

        hint = did_you_mean(others[0], options.groups())
        raise ConfigError(f"a group must be one of {', '.join(options.groups())}, got {others[0]!r}{hint}")
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(option_lines(options, groups or list(_SHOWN), width)))


def option_lines(options: ConfigOptions, groups: Sequence[str], width: int | None = None) -> list[str]:
    """Return lines with the options of `groups`, each with what it is, cut to `width` columns if there is one."""
    lines: list[str] = []
    for group in groups:
        names = options.names(group)
        column = max((len(name) for name in names), default=0) + 2
        lines += ["", f"{_SHOWN.get(group, f'{group}=')}"]
        for name in names:
            line = f"  {name:{column}}{options.summary(group, name)}".rstrip()
            lines.append(line if width is None or len(line) <= width else f"{line[: width - 1]}…")
    return lines[1:]
