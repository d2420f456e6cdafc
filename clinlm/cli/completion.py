"""Shell completion, `clinlm predict art<Tab>`: what may follow, found without importing Hydra or torch."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clinlm.cli.options import ConfigOptions, assigned_keys

_GROUPS = {"check": (), "predict": (), "label": ("labeler", "corpus"), "stress": (), "documents": ("task",)}
"""Commands whose settings are those of a yaml of the same name, and their groups; `documents` has no yaml."""
_DOCUMENTS = {"output": None, "store": None}
_FLAGS = ("--cfg", "--completion", "--config-dir", "--help", "--hydra-help", "--info", "--multirun", "--version", "-m")
_RESPELLED = {"adapter@teacher_adapter": "adapter@teacher", "adapter@student_adapter": "adapter@student"}
"""Slots of the yaml -> as a command line names them; see `clinlm.config.overrides`."""
_LAUNCHERS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray": "ray",
}
"""Launcher -> the package that brings it."""
_VALUES = {"--cfg": ("job", "hydra", "all"), "--completion": ("bash", "zsh", "fish")}

SHELLS = {
    "bash": """_clinlm() {
  local IFS=$'\\n'
  COMPREPLY=($(COMP_LINE="${COMP_LINE:0:COMP_POINT}" "$1" --completion query bash 2>/dev/null))
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=./@] ]] || compopt -o nospace
}
complete -F _clinlm clinlm""",
    "zsh": """_clinlm() {
  local -a found closed open
  found=("${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT]}" $words[1] --completion query zsh 2>/dev/null)}")
  open=(${(M)found:#*[=./@]}) closed=(${found:#*[=./@]})
  (( $#open )) && compadd -Q -S '' -- $open
  (( $#closed )) && compadd -Q -- $closed
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _clinlm clinlm""",
    "fish": """function __clinlm
  COMP_LINE=(commandline -cp) clinlm --completion query fish 2>/dev/null
end
complete -c clinlm -f -a '(__clinlm)'""",
}
"""Shell -> the script that `eval "$(clinlm --completion SHELL)"` reads."""
_WORD_BREAKS = re.compile(r'.*[@:=>"\'<|&;()]', re.S)
"""Bash replaces only what follows the last of them in the word (COMP_WORDBREAKS)."""


def completion_lines(arguments: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return what `clinlm --completion` prints: the script of a shell, or, of `query`, what may follow COMP_LINE.

    Args:
        arguments: `[SHELL]`, or `[query, SHELL]`.
        commands: names of the commands.
    """
    if arguments[:1] != ["query"]:
        return [SHELLS[arguments[0]]]
    line = os.environ.get("COMP_LINE", "")
    found = complete_line(line, commands)
    if arguments[1:] == ["bash"] and (broken := _WORD_BREAKS.match(line.rpartition(" ")[2])):
        return [choice[len(broken[0]) :] for choice in found]
    return found


def complete_line(line: str, commands: Collection[str]) -> list[str]:
    """Return the words that may stand in place of the last of a command line, sorted.

    Args:
        line: up to the cursor, with the program.
        commands: names of the commands.
    """
    _, *earlier, word = line.lstrip().split(" ") if " " in line.lstrip() else ["", ""]
    earlier = [own for own in earlier if own]
    options = ConfigOptions.of(earlier)
    if earlier and earlier[-1] in _VALUES:
        found: set[str] = {*_VALUES[earlier[-1]]}
    elif earlier and earlier[-1] in ("--config-dir", "-cd"):
        found = _paths("", word)
    elif earlier and earlier[0] in commands:
        found = _of_command(options, earlier[0], earlier[1:], word)
    else:
        found = {*commands} if not earlier else set()
        found |= {*_FLAGS} if word.startswith("-") else _of_pipeline(options, earlier, word)
    return sorted(choice for choice in found if choice.startswith(word))


def _of_command(options: ConfigOptions, command: str, earlier: Sequence[str], word: str) -> set[str]:
    if command == "list":
        return {*options.groups()} if not earlier else set()
    if command == "show":
        return {folder.name for folder in Path("outputs/store").glob("*-*")} | _overrides(word, {"store": None}, {})
    if command == "store":
        return _of_store(earlier, word)
    if command == "report":
        if not earlier:
            return {*assigned_keys("clinlm.report.command", "REPORTS")}
        return _folder_of_runs(word)
    if command not in _GROUPS:
        return set()
    groups = _GROUPS[command]
    root = "config" if command == "documents" else command
    settings = options.settings(root, _chosen(earlier, groups))
    kept = {key: value for key, value in settings.items() if key in groups or command != "documents"}
    kept |= _DOCUMENTS if command == "documents" else {}
    return _overrides(word, kept, {group: options.names(group) for group in groups})


def _of_store(earlier: Sequence[str], word: str) -> set[str]:
    from clinlm.cli.store import SETTINGS

    action, *_ = earlier or [""]
    if action not in SETTINGS:
        return {*SETTINGS}
    found = _overrides(word, {name: name in ("confirm", "notes", "restricted") for name in SETTINGS[action]}, {})
    if action == "export":
        return found | {folder.name for folder in Path("outputs/store").glob("*-*")}
    return found | _paths("", word) if action == "import" and "=" not in word else found


def _of_pipeline(options: ConfigOptions, earlier: Sequence[str], word: str) -> set[str]:
    plus = re.match(r"[+~]*", word)
    prefix = plus[0] if plus else ""
    slots = {slot: options.names(group) for slot, (group, _) in options.slots().items() if slot not in _RESPELLED}
    slots |= {slot: options.names("adapter") for slot in _RESPELLED.values()}
    slots |= {group: options.names(group) for group in options.groups() if group.startswith("hydra/")}
    slots["hydra/launcher"] = ["basic", *(name for name, package in _LAUNCHERS.items() if find_spec(package))]
    if prefix == "~":
        kept = options.settings("config", _chosen(earlier, slots))
        found = _overrides(word[1:], kept, {}, values=False)
        return {f"~{key}" for key in found if key.endswith(".")} | {f"~{key[:-1]}" for key in found}
    if prefix:  # groups without a slot
        slots = {group: options.names(group) for group in options.groups() if "/" not in group}
    word = word[len(prefix) :]
    key, equals, _ = word.partition("=")
    settings = {} if equals and key in slots else _all(options, earlier, slots)
    return {f"{prefix}{choice}" for choice in _overrides(word, settings, slots)}


def _all(options: ConfigOptions, earlier: Sequence[str], slots: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    settings = options.settings("config", _chosen(earlier, slots))
    for word in earlier:  # groups that were added: +experiment=mtsamples
        group, _, name = word.lstrip("+").partition("=")
        if word.startswith("+") and name in options.names(group):
            settings |= options.settings(f"{group}/{name}", {})
    return settings


def _chosen(earlier: Sequence[str], slots: Collection[str]) -> dict[str, str]:
    """Return slot -> option as typed; of a sweep the first."""
    typed = [word.partition("=") for word in earlier if "=" in word]
    return {key.lstrip("+"): value.partition(",")[0] for key, _, value in typed if key.lstrip("+") in slots}


def _overrides(
    word: str, settings: Mapping[str, Any], groups: Mapping[str, Sequence[str]], values: bool = True
) -> set[str]:
    """Return the overrides that may begin with `word`: names of groups and settings, or values after `=`."""
    key, equals, value = word.partition("=")
    if equals and not values:
        return set()
    if equals:
        typed, comma, last = value.rpartition(",")
        before = f"{key}={typed}{comma}"
        if key in groups:
            return {f"{before}{name}" for name in groups[key] if name not in typed.split(",")}
        known = _at(settings, key)
        if isinstance(known, bool):
            return {f"{before}true", f"{before}false"}
        return _paths(before, last)
    *path, _ = key.split(".")
    here: Any = _at(settings, ".".join(path)) if path else settings
    found = {f"{group}=" for group in groups} if not path else set()
    for name, own in (here if isinstance(here, dict) else {}).items():
        if not str(name).startswith("_") and str(name) not in ("defaults", "hydra"):
            found.add(".".join([*path, str(name)]) + ("." if isinstance(own, dict) and own else "="))
    return found


def _at(settings: Mapping[str, Any], path: str) -> Any:
    node: Any = settings
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _paths(before: str, typed: str) -> set[str]:
    """Return the files and folders that begin as typed; folders end with a slash."""
    folder = Path(typed).expanduser() if typed.endswith("/") else Path(typed).expanduser().parent
    shown = typed[: typed.rfind("/") + 1]
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return set()
    return {f"{before}{shown}{path.name}{'/' * path.is_dir()}" for path in inside}


def _folder_of_runs(word: str) -> set[str]:
    """Return `run=` and `sweep=` with what is in the usual places, the newest last."""
    if "=" not in word:
        return {"run=", "sweep="}
    key, _, typed = word.partition("=")
    if typed or key not in ("run", "sweep"):
        return _paths(f"{key}=", typed)
    return {f"{key}={path.as_posix()}" for path in Path(f"outputs/{key}s").glob("*") if path.is_dir()}
