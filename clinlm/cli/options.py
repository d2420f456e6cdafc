"""The options of the configuration, read from its files alone: for commands that must answer at once, without Hydra."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import yaml

from clinlm.config.validation import CONF

_CLINLM = Path(__file__).parents[1]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PACKAGE = re.compile(r"^# *@package +(\S+)", re.M)


@final
class ConfigOptions:
    """Groups and their options in one or more folders of configuration, the first folder before the others.

    Args:
        folders: of yaml files; those that do not exist are skipped.
    """

    def __init__(self, folders: Sequence[Path] = (CONF,)) -> None:
        self.folders = [folder for folder in folders if folder.is_dir()]

    @classmethod
    def of(cls, words: Sequence[str]) -> Self:
        """Return the options that a command line may use: ours, and those of `--config-dir FOLDER`."""
        own = [Path(word.partition("=")[2]) for word in words if word.startswith("--config-dir=")]
        own += [Path(word) for flag, word in zip(words, words[1:], strict=False) if flag in ("--config-dir", "-cd")]
        return cls([*own, CONF])

    def groups(self) -> list[str]:
        """Return the names of all groups, such as `prune` and `hydra/sweeper`."""
        places = [(folder, path.parent) for folder in self.folders for path in folder.glob("*/**/*.yaml")]
        return sorted({place.relative_to(folder).as_posix() for folder, place in places})

    def names(self, group: str) -> list[str]:
        """Return the options of a group; none if there is no such group."""
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})

    def text(self, group: str, name: str) -> str:
        """Return the yaml of an option, or of a file at the top where `group` is ""; "" if there is none."""
        for folder in self.folders:
            path = folder / group / f"{name}.yaml"
            if path.is_file():
                return path.read_text(encoding="utf-8")
        return ""

    def summary(self, group: str, name: str) -> str:
        """Return what an option is in one line: its first comment, else the docstring of its class; "" without both."""
        text = self.text(group, name)
        comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
        comments = [line for line in comments if not line.startswith("@package")]
        target = re.search(r"^_target_: *(\S+)", text, re.M)
        return comments[0] if comments else _docstring(target[1]) if target else ""

    def slots(self) -> dict[str, tuple[str, str | None]]:
        """Return the slots of the root configuration, such as `model@teacher` -> (`model`, `minilm`)."""
        found = {}
        for key, value in _defaults(_parsed(self.text("", "config"))):
            if key and not key.startswith("override"):
                found[key.lstrip("/")] = (key.partition("@")[0].lstrip("/"), value)
        return found

    def settings(self, root: str, chosen: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings of a yaml at the top with the options `chosen` (slot -> option), uninterpolated.

        Composed as Hydra does for our own files: options in their packages, `_global_` at the root, `defaults` of
        options relative to their group.
        """
        known = dict(chosen)
        self._composed("", root, "", known)  # finds what options override, which may stand before them
        return self._composed("", root, "", known)

    def _composed(self, group: str, name: str, package: str, chosen: dict[str, str]) -> dict[str, Any]:
        text = self.text(group, name)
        content = _parsed(text)
        told = _PACKAGE.search(text)
        if told:
            package = told[1].replace("_global_", "").replace("_group_", group.replace("/", "."))
        own = _placed(package, {key: value for key, value in content.items() if key != "defaults"})
        merged: dict[str, Any] = {}
        entries = _defaults(content)
        if not any(value == "_self_" and not key for key, value in entries):
            entries.append(("", "_self_"))
        for key, value in entries:
            if key.startswith("override "):
                slot = key.removeprefix("override ").lstrip("/")
                chosen.setdefault(slot, str(value))
        for key, value in entries:
            if not key:
                part = own if value == "_self_" else self._composed(group, str(value), package, chosen)
                _merge(merged, part)
            elif not key.startswith("override "):
                _merge(merged, self._option(key, value, group, package, chosen))
        return merged

    def _option(self, key: str, value: Any, group: str, package: str, chosen: dict[str, str]) -> dict[str, Any]:
        """Return the settings of one entry `GROUP@PACKAGE: OPTION` of a defaults list."""
        place, _, slot = key.removeprefix("optional ").partition("@")
        if place.startswith("/"):
            inner = place.lstrip("/")
        else:
            inner = f"{group}/{place}" if group else place
        own = slot or place.lstrip("/").replace("/", ".")
        full = own.removeprefix("_global_").lstrip(".") if own.startswith("_global_") else _joined(package, own)
        name = chosen.get(f"{inner}@{full}" if slot else inner, value)
        if name in (None, "null", "") or full.startswith("hydra"):
            return {}
        return self._composed(inner, str(name), full, chosen)


def _parsed(text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _defaults(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the defaults list of a yaml as pairs; of an entry without a group the first is ""."""
    found: list[tuple[str, Any]] = []
    for entry in content.get("defaults") or []:
        found += [(str(key), value) for key, value in entry.items()] if isinstance(entry, dict) else [("", str(entry))]
    return found


def _joined(package: str, own: str) -> str:
    return f"{package}.{own}" if package else own


def _placed(package: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return `content` at a dotted path."""
    for name in reversed(package.split(".") if package else []):
        content = {name: content}
    return content


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = {**value} if isinstance(value, dict) else value


def _docstring(target: str) -> str:
    """Return the first line of the docstring of a class of ours, without importing it."""
    for node in _statements(target.rpartition(".")[0]):
        if isinstance(node, ast.ClassDef) and node.name == target.rpartition(".")[2]:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _statements(module: str) -> Iterator[ast.stmt]:
    root = _CLINLM if module.startswith("clinlm.") else _CLINLM.parent / "callbacks"
    path = root.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if module.startswith(("clinlm.", "callbacks.")) and path.is_file():
        yield from ast.parse(path.read_text(encoding="utf-8")).body


def assigned_keys(module: str, name: str) -> list[str]:
    """Return the keys of a dictionary that a module of ours assigns at its top, without importing it."""
    for node in _statements(module):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(own, ast.Name) and own.id == name for own in targets):
            value = getattr(node, "value", None)
            return [str(key.value) for key in value.keys if isinstance(key, ast.Constant)] if value else []
    return []
