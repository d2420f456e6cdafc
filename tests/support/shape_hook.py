"""Array shapes are checked at every call in all tests: importing this, before anything of clinlm, sees to it.

Only modules that name shapes are instrumented, by themselves or through a name of another module. jaxtyping's wrapper,
around every function of the package, took a fifth of the time of the tests of readers, and had nothing to check there.
"""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from jaxtyping import install_import_hook

UNCHECKED = "CLINLM_UNCHECKED_SHAPES"
"""Environment variable that leaves the checks out, for versions of packages other than those of constraints.txt."""
_ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"^([A-Z]\w*)(?:: \w+)? = ", re.MULTILINE)
_IMPORT = re.compile(r"^\s*from ((?:clinlm|callbacks)[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)


def shaped_modules() -> list[str]:
    """Return the names of the modules of clinlm and callbacks that name shapes of arrays."""
    paths = [path for package in ("clinlm", "callbacks") for path in sorted((_ROOT / package).rglob("*.py"))]
    texts = {
        ".".join(path.relative_to(_ROOT).with_suffix("").parts): path.read_text(encoding="utf-8") for path in paths
    }
    own = {name for name, text in texts.items() if "from jaxtyping import" in text}
    named = {name: {*_NAMED.findall(texts[name])} for name in own}
    return [name for name, text in texts.items() if name in own or _uses(text, named.items())]


def _uses(text: str, named: Iterable[tuple[str, set[str]]]) -> bool:
    """Return whether a module imports one of the names of modules with shapes."""
    imported = {module: {*re.findall(r"\w+", names)} for module, names in _IMPORT.findall(text)}
    return any(names & imported.get(module, set()) for module, names in named)


if not os.environ.get(UNCHECKED):
    modules = shaped_modules()
    early = [name for name in modules if name in sys.modules]
    assert not early, f"imported before their shapes could be checked: {early}"
    install_import_hook(modules, "support.shapes.checked")
