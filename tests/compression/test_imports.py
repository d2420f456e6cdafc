"""The computations of methods do not depend on Lightning's hooks: nothing here imports it."""

import ast
from pathlib import Path

import clinlm.compression


def test_compression_does_not_import_lightning() -> None:
    files = [*Path(clinlm.compression.__file__).parent.glob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert len(files) > 10 and not [name for name in imported if name.partition(".")[0] in ("lightning", "callbacks")]
