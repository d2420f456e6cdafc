"""The command line: run a pipeline, or a sweep of them, and print what it cost and what it gained."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from clinlm.config import runtime
from clinlm.config.validation import CONF, explained
from clinlm.sweepers import optuna


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def launch(config: DictConfig) -> dict[str, float]:
    """Run one pipeline; returns what sweepers may optimise. The processes of a launcher begin here, not in `main`.

    A job of a sweep that fails its gate says so, leaves a file that `clinlm.report.gates.GateStatus` finds, and returns
    nothing to optimise (NaN): the others go on, and the sweep has its table.
    """
    from clinlm.cli.run import run
    from clinlm.pipeline.execution import GateFailed
    from clinlm.report import gates

    runtime.register()
    runtime.share_cores()
    try:
        return run(config)
    except GateFailed as failed:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        return gates.refuse(failed, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """Entry point: errors that a user can mend are one paragraph, not a traceback.

    The exit status is 3 where a gate stopped a pipeline, and 1 after any other error.
    """
    runtime.register()
    optuna.register()
    # Hydra's parser wants all overrides together; `clinlm +experiment=x -m pipeline=a,b` is what people type.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    traceback = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises to us instead of printing and exiting
    try:
        launch()
    except (HydraException, OmegaConfBaseException, ValueError, ImportError, OSError, RuntimeError) as error:
        if traceback and not hasattr(error, "exit_status"):  # a gate that says no is no error to look for
            raise
        print(f"clinlm: {explained(error)}\n(HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))
    except KeyboardInterrupt:
        sys.exit("clinlm: stopped; the same command goes on from here")


if __name__ == "__main__":
    main()
