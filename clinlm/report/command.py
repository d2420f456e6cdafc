"""The command `clinlm report KIND run=FOLDER` or `sweep=FOLDER`: makes something of what a run or sweep has written."""

import ast
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean

REPORTS: dict[str, str] = {
    "clinical": "clinlm.report.cards.clinical:clinical_command",
    "hf": "clinlm.report.cards.hub:hub_command",
    "html": "clinlm.report.html.page:html_report",
    "wandb": "clinlm.report.wandb_command:wandb_report",
    "wandb-sweep": "clinlm.report.wandb_command:wandb_sweep",
}
"""Kind -> module and function. The function takes the folder and further settings, KEY -> value, and returns lines to
print; it refuses settings that it does not know with `refuse_others`."""

_HELP = """clinlm report: make something of what a run or a sweep has written, without running it again.
Nothing is sent, except by wandb, to the account that you are logged in to.

  clinlm report KIND run=outputs/runs/FOLDER
  clinlm report KIND sweep=outputs/sweeps/FOLDER

Kinds:
"""


def report_command(arguments: Sequence[str]) -> None:
    """Run `clinlm report`, or print its help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_HELP + "".join(f"  {kind:12}{_summary(kind)}\n" for kind in REPORTS), end="")
        return
    kind, *words = arguments
    if kind not in REPORTS:
        raise ConfigError(f"unknown kind of report {kind!r}{did_you_mean(kind, REPORTS)}; see clinlm report --help")
    settings = _settings(words)
    folders = [settings.pop(name) for name in ("run", "sweep") if name in settings]
    if len(folders) != 1:
        raise ConfigError(f"clinlm report {kind} needs one of run=FOLDER and sweep=FOLDER, got {len(folders)}")
    module, _, function = REPORTS[kind].partition(":")
    for line in getattr(importlib.import_module(module), function)(Path(folders[0]), settings):
        print(line)


def refuse_others(settings: dict[str, str], known: Sequence[str]) -> None:
    """Raise where `settings` has a key that is not in `known`.

    Raises:
        ConfigError: naming the nearest.
    """
    for name in settings:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}{did_you_mean(name, known)}")


def _settings(words: Sequence[str]) -> dict[str, str]:
    wrong = [word for word in words if "=" not in word or word.startswith("=")]
    if wrong:
        raise ConfigError(f"settings must be KEY=VALUE, got {wrong[0]!r}")
    return dict(word.split("=", 1) for word in words)


def _summary(kind: str) -> str:
    """Return the first sentence of the docstring of a kind's function, without importing what makes the report."""
    module, _, function = REPORTS[kind].partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""
