"""The command `clinlm agent ENTITY/PROJECT/SWEEP [count=N]`: runs what a sweep of W&B asks for."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clinlm.config.errors import ConfigError

_HELP = """clinlm agent: run what a sweep of W&B asks for, one pipeline after another, until it has no more.

  clinlm report wandb-sweep sweep=outputs/sweeps/FOLDER   writes wandb_sweep.yaml
  wandb sweep outputs/sweeps/FOLDER/wandb_sweep.yaml      makes the sweep, and prints its name
  clinlm agent ENTITY/PROJECT/SWEEP [count=N]             on every machine that helps
"""


def agent_command(arguments: Sequence[str]) -> None:
    """Run `clinlm agent`; its status is that of the agent of wandb.

    Raises:
        ConfigError: no sweep, something else than `count=N`, or `allow`, which would not reach the runs.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_HELP, end="")
        return
    if allowed := [word for word in arguments if word.startswith("allow=")]:
        raise ConfigError(
            f"the runs of a sweep must get allow from its own command, got {allowed[0]} for the agent; add `- "
            f"{allowed[0]}` to the list `command` in wandb_sweep.yaml, before the last line, and make the sweep again"
        )
    names = [word for word in arguments if "=" not in word]
    settings = dict(word.split("=", 1) for word in arguments if "=" in word)
    if len(names) != 1 or set(settings) - {"count"} or not settings.get("count", "1").isdigit():
        raise ConfigError(f"clinlm agent needs ENTITY/PROJECT/SWEEP and at most count=N, got {' '.join(arguments)}")
    command = [sys.executable, "-m", "wandb", "agent", *names]
    if "count" in settings:
        command += ["--count", settings["count"]]
    # ${interpreter} of wandb is the first python on the path; its files of settings are else where one stands.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    own = {"WANDB_DIR": str(Path("outputs").absolute())} | os.environ | {"PATH": path}
    status = subprocess.run(command, env=own, check=False).returncode
    if status:
        sys.exit(status)
