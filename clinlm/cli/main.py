"""Entry points: `clinlm` runs pipelines, or one of its commands. Nothing heavy is imported before it is known which."""

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "check": "clinlm.predict.check:check_command",
    "predict": "clinlm.predict.predict:predict_command",
    "label": "clinlm.predict.label:label_command",
    "documents": "clinlm.predict.documents:documents_command",
    "report": "clinlm.report.command:report_command",
    "stress": "clinlm.report.stress:stress_command",
    "list": "clinlm.cli.listing:list_command",
    "show": "clinlm.cli.show:show_command",
    "store": "clinlm.cli.store:store_command",
    "agent": "clinlm.tracking.agent:agent_command",
}
"""Name -> module and function. The function takes the arguments and raises; errors are reported here."""


def main() -> None:
    """Run `clinlm`: one of `COMMANDS`, or a pipeline."""
    words = sys.argv[1:]
    try:
        _run(words)
    except KeyboardInterrupt as stopped:
        _report(stopped, "clinlm")


def predict_alias() -> None:
    """Run `clinlm-predict`, which is `clinlm predict`."""
    run_command("predict", sys.argv[1:])


def label_alias() -> None:
    """Run `clinlm-label`, which is `clinlm label`."""
    run_command("label", sys.argv[1:])


def documents_alias() -> None:
    """Run `clinlm-documents`, which is `clinlm documents`."""
    run_command("documents", sys.argv[1:])


def run_command(name: str, arguments: Sequence[str]) -> None:
    """Run one of `COMMANDS`; exit with the status of its error, if it raises one."""
    if not arguments or {"-h", "--help"} & {*arguments}:
        from clinlm.cli.help import command_help

        if text := command_help(name):
            print(text, end="")
            return
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    module, _, function = COMMANDS[name].partition(":")
    try:
        if not module.startswith("clinlm.cli."):  # those open nothing that names a method
            from clinlm.config.methods_path import prefer_own_methods

            prefer_own_methods()
        own = arguments if name == "agent" else _without_allow(arguments)  # its runs get it from their sweep
        getattr(importlib.import_module(module), function)([*own])
    except BaseException as error:  # reported, or raised again: see `clinlm.cli.errors.report`
        _report(error, f"clinlm {name}")


def _without_allow(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `allow=[…]`, after it was heeded: no command has a setting of that name."""
    if typed := [word for word in arguments if word.startswith("allow=")]:
        from clinlm.config.targets import allow_targets, typed_packages

        allow_targets(typed_packages(typed))
    return [word for word in arguments if word not in typed]


def _run(words: list[str]) -> None:
    name, *rest = words or [""]
    if name == "--version":
        from clinlm import __version__

        print(f"clinlm {__version__}")
    elif name not in COMMANDS and {"-h", "--help"} & {*words}:
        from clinlm.cli.help import HELP

        print(HELP, end="")
    elif name == "--completion" and rest and rest[0] in ("bash", "zsh", "fish", "query"):
        from clinlm.cli.completion import completion_lines

        print("\n".join(completion_lines(rest, COMMANDS)))
    elif name in COMMANDS:
        run_command(name, rest)
    elif name.isalpha() or name == "--completion":
        _refuse(name)
    else:
        from clinlm.cli.pipelines import run_pipelines

        run_pipelines()


def _refuse(name: str) -> None:
    from clinlm.config.errors import ConfigError
    from clinlm.config.near_names import did_you_mean

    if name == "--completion":
        _report(ConfigError("--completion must be followed by bash, zsh or fish"), "clinlm")
    hint = did_you_mean(name, COMMANDS)
    _report(
        ConfigError(f"unknown command {name!r}{hint}; settings are KEY=VALUE, and clinlm --help lists commands"),
        "clinlm",
    )


def _report(error: BaseException, program: str) -> None:
    """Print an error and exit; here, because what explains errors imports Hydra."""
    from clinlm.cli.errors import report

    report(error, program)
