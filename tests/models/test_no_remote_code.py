"""No file that is loaded brings code: transformers is told so at every call, and asks nobody."""

import ast
import re

import pytest
from support.commands import ROOT

LOADERS = [*sorted(ROOT.glob("clinlm/**/*.py")), *sorted(ROOT.glob("callbacks/**/*.py"))]


def calls(tree: ast.AST) -> list[ast.Call]:
    """The calls of a class of transformers that chooses a class by what a file says."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if re.fullmatch(r"Auto\w+\.from_\w+", ast.unparse(call.func))]


def test_every_call_that_may_choose_a_class_refuses_code() -> None:
    found = [(path, call) for path in LOADERS for call in calls(ast.parse(path.read_text(encoding="utf-8")))]
    assert len(found) >= 10
    told = {}
    for path, call in found:
        words = [ast.unparse(own.value) for own in call.keywords if own.arg == "trust_remote_code"]
        told[f"{path.name}:{call.lineno}"] = words
    assert {place: words for place, words in told.items() if words != ["False"]} == {}


@pytest.mark.parametrize("text", ["AutoModel.from_pretrained(x)", "AutoConfig.from_pretrained(x)"])
def test_a_call_without_it_is_found(text: str) -> None:
    assert len(calls(ast.parse(text))) == 1
