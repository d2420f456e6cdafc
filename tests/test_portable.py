"""What only POSIX has is guarded, and the containers name what exists."""

import ast
import builtins
import importlib
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from test_architecture import OURS, TREES, name

ROOT = Path(__file__).parents[1]
MODULES = ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "readline")
FUNCTIONS = (
    *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "setsid", "getpgid", "killpg", "uname", "nice"),
    *("sched_getaffinity", "sched_setaffinity", "sysconf", "getloadavg", "mkfifo", "chown", "statvfs", "wait"),
    *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "pread", "pwrite", "posix_fadvise", "openpty", "ttyname", "setuid"),
)
"""Of `os`, missing on Windows."""
PROVEN = {
    "clinlm/metrics/latency.py: sysconf": "after /proc/stat was read",
    "clinlm/models/memory.py: fork": "returned before where there is none",
}
CONTAINERS = ROOT / "docs" / "containers"


def unguarded(tree: ast.Module) -> Iterator[str]:
    """What is missing on Windows and stands neither below a condition on the platform or its presence, nor in a try."""

    def visit(node: ast.AST, safe: bool) -> Iterator[str]:
        if isinstance(node, ast.If | ast.IfExp):
            test = ast.unparse(node.test)
            safe = safe or "sys.platform" in test or "os.name" in test or "hasattr(os" in test
        if isinstance(node, ast.Try):
            caught = " ".join(ast.unparse(one.type) for one in node.handlers if one.type is not None)
            safe = safe or "ImportError" in caught or "AttributeError" in caught
        if not safe:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in MODULES)
            elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
                yield str(node.module)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in FUNCTIONS:
                yield node.attr
        for child in ast.iter_child_nodes(node):
            yield from visit(child, safe)

    return visit(tree, False)


def test_what_windows_lacks_is_guarded() -> None:
    found = {f"{name(path)}: {one}" for path in OURS for one in unguarded(TREES[path])}
    assert found == set(PROVEN)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import resource", ["resource"]),
        ("if sys.platform != 'win32':\n    import resource", []),
        ("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None", []),
        ("x = os.getuid()", ["getuid"]),
        ("x = os.getuid() if hasattr(os, 'getuid') else 0", []),
    ],
)
def test_a_missing_guard_is_found(code: str, found: list[str]) -> None:
    assert list(unguarded(ast.parse(code))) == found


def test_memory_and_writes_work_without_what_windows_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as Linux can show it: no `resource`, no glibc, and folders that cannot be opened."""
    from clinlm.models import memory
    from clinlm.predict import durable_file

    real_import, real_open = builtins.__import__, os.open

    def importing(module: str, *others: Any, **named: Any) -> Any:
        if module in MODULES:
            raise ModuleNotFoundError(module)
        return real_import(module, *others, **named)

    def opening(path: Any, *others: Any, **named: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, *others, **named)

    try:
        with monkeypatch.context() as windows:
            windows.setattr(sys, "platform", "win32")
            windows.setattr(builtins, "__import__", importing)
            windows.setattr(os, "open", opening)
            windows.delitem(sys.modules, "resource")
            importlib.reload(memory)
            with memory.PeakGrowth() as growth:
                pass
            assert growth.mib is None
            durable_file.write_whole(tmp_path / "whole", b"all of it")
            assert (tmp_path / "whole").read_bytes() == b"all of it"
    finally:
        importlib.reload(memory)


def extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    return found


@pytest.mark.parametrize("recipe", ["Dockerfile", "clinlm.def"])
def test_recipes_name_files_and_extras_that_exist(recipe: str) -> None:
    text = (CONTAINERS / recipe).read_text(encoding="utf-8")
    pattern = r"^COPY (?!--from)(.+) \S+$" if recipe == "Dockerfile" else r"^    (\S+) /source/\S+$"
    copied = [one for line in re.findall(pattern, text, re.M) for one in line.split()]
    assert {"clinlm", "callbacks", "conf", "pyproject.toml", "constraints.txt"} <= set(copied)
    assert [one for one in copied if not (ROOT / one).exists()] == []
    (asked,) = re.findall(r"/source\[([\w,]+)\]", text)
    assert set(asked.split(",")) <= set(extras())
    (python,) = re.findall(r"python:([\d.]+)-slim", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(python)
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    assert "HF_HUB_OFFLINE=1" in text and "PIP_CONSTRAINT=/source/constraints.txt" in text


def test_the_image_runs_unprivileged_and_its_context_holds_what_it_copies() -> None:
    lines = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8").splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM"))
    (user,) = [line.split()[1] for line in lines[last:] if line.startswith("USER")]
    assert user.isdigit() and user != "0", "a number: Kubernetes can check that it is not root"
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert set(kept) == {name for names in copied for name in names}


def test_the_documented_commands_close_the_network_and_keep_notes_read_only() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").replace("\\\n", " ")
    docker, apptainer = (
        shlex.split(re.findall(rf"^{word} run .*$", text, re.M)[0]) for word in ("docker", "apptainer")
    )
    for words in (docker, apptainer):
        assert words[words.index("--network") + 1] == "none"
        assert any(re.fullmatch(r"[^:]+:/notes:ro(,.*)?", word) for word in words)
    assert {"--read-only", "--cap-drop", "--user"} <= set(docker)


def test_every_extra_is_documented() -> None:
    table = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert set(extras()) <= set(re.findall(r"`(\w+)`", cells))
