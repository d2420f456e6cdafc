"""Laws of the layout: who imports whom, what files are called, how long they are, and that nothing is pickled."""

import ast
import importlib
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
OURS = sorted([*ROOT.glob("clinlm/**/*.py"), *ROOT.glob("callbacks/**/*.py")])
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in OURS}

FLOORS = {
    "clinlm.anatomy": 0,
    "clinlm.architectures": 0,
    "clinlm.assertion": 0,
    "clinlm.batches": 0,
    "clinlm.chat": 0,
    "clinlm.corpora": 0,
    "clinlm.edits": 0,
    "clinlm.examples": 0,
    "clinlm.extras": 0,
    "clinlm.label_journal": 0,
    "clinlm.label_store": 0,
    "clinlm.labelers": 0,
    "clinlm.labelling": 0,
    "clinlm.lexicons": 0,
    "clinlm.long_notes": 0,
    "clinlm.low_rank": 0,
    "clinlm.low_rank_embedding": 0,
    "clinlm.machine": 0,
    "clinlm.matcher": 0,
    "clinlm.membership": 0,
    "clinlm.mentions": 0,
    "clinlm.model": 0,
    "clinlm.normalization": 0,
    "clinlm.quantized": 0,
    "clinlm.replacing": 0,
    "clinlm.sentences": 0,
    "clinlm.settings": 0,
    "clinlm.spans": 0,
    "clinlm.split": 0,
    "clinlm.stop_terms": 0,
    "clinlm.store": 0,
    "clinlm.subsets": 0,
    "clinlm.tags": 0,
    "clinlm.tokens": 0,
    "clinlm.triggers": 0,
    "clinlm.vocabularies": 0,
    "clinlm.vocabulary": 0,
    "clinlm.word_forms": 0,
    "clinlm.words": 0,
    "clinlm.adapters": 1,
    "clinlm.artifact": 1,
    "clinlm.device": 1,
    "clinlm.distill": 1,
    "clinlm.engines": 1,
    "clinlm.ensembles": 1,
    "clinlm.features": 1,
    "clinlm.measure": 1,
    "clinlm.optimizer": 1,
    "clinlm.serving": 1,
    "clinlm.starts": 1,
    "clinlm.task": 1,
    "clinlm.tasks": 1,
    "clinlm.transfers": 1,
    "clinlm.changes": 2,
    "clinlm.claim": 2,
    "clinlm.gate": 2,
    "clinlm.members": 2,
    "clinlm.modules": 2,
    "clinlm.deployment": 3,
    "clinlm.loggers": 3,
    "clinlm.plan": 3,
    "clinlm.stage": 3,
    "clinlm.teaching": 3,
    "clinlm.pipeline": 4,
    "clinlm.technique": 4,
    "clinlm.__main__": 5,
    "clinlm.documents": 5,
    "clinlm.label": 5,
    "clinlm.predict": 5,
    "clinlm.report": 5,
    "clinlm.run": 5,
    "clinlm.sweepers": 5,
}
"""A module imports from its own floor or from below."""

WING = 2
"""The highest floor that `callbacks` imports from."""

JUNK = ("utils", "util", "helpers", "helper", "common", "misc", "core")

GROUPS = (
    *(f"callbacks/{group}" for group in ("factorize", "prune", "quantize", "recover", "schedules")),
    *(
        f"clinlm/{group}"
        for group in (
            *("adapters", "engines", "ensembles", "features", "lexicons", "loggers", "members", "quantized"),
            *("starts", "sweepers", "tasks", "transfers"),
        )
    ),
)
"""Folders with one final class per file; files without a final class hold what the others share."""

STEMS = {"MTSamples": "mtsamples", "MultiClass": "multiclass", "MultiLabel": "multilabel", "Nowhere": "none"}
"""Classes whose file is not their name in snake case: two proper names, and None, which Python keeps for itself."""

UNPICKLERS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.Module) -> Iterator[str]:
    """Everything imported, wherever in the file; `from a import b` counts as a.b, be it a module or an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute: a reader sees where they go"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module: str) -> int:
    found = [place for place in FLOORS if f"{module}.".startswith(f"{place}.")]
    assert found, f"{module} stands on no floor; give it one in the table above"
    return FLOORS[max(found, key=len)]


def violations(module: str, imports: Iterator[str]) -> list[str]:
    """The imports of one module that the floors forbid."""
    wing = module.partition(".")[0] == "callbacks"
    own = WING if wing else floor(module)
    found = []
    for wanted in imports:
        package = wanted.partition(".")[0]
        if (package == "callbacks" and not wing) or (package == "clinlm" and floor(wanted) > own):
            found.append(f"{module} imports {wanted}")
    return found


def snake(words: str) -> str:
    return STEMS.get(words) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", words).lower()


def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in TREES[path].body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def is_final(node: ast.ClassDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "final" for mark in node.decorator_list)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_floors() -> None:
    modules = [(dotted(path), tree) for path, tree in TREES.items() if dotted(path) != "clinlm"]
    assert [wrong for module, tree in modules for wrong in violations(module, imported(tree))] == []


def test_the_floors_of_packages_that_are_gone_are_gone() -> None:
    there = {dotted(path) for path in OURS}
    assert set(FLOORS) <= there


def test_a_forbidden_import_is_found() -> None:
    assert violations("clinlm.store", iter(["clinlm.task.Task"])) == ["clinlm.store imports clinlm.task.Task"]
    assert violations("clinlm.stage", iter(["callbacks.base"])) == ["clinlm.stage imports callbacks.base"]
    assert violations("callbacks.prune.x", iter(["clinlm.stage.Stage", "callbacks.base", "clinlm.modules.base"])) == [
        "callbacks.prune.x imports clinlm.stage.Stage"
    ]


def test_nothing_is_called_utils() -> None:
    places = [path for path in ROOT.glob("**/*") if path.suffix in ("", ".py", ".yaml") and path.stem in JUNK]
    ours = [
        name(path) for path in places if path.relative_to(ROOT).parts[0] in ("clinlm", "callbacks", "conf", "tests")
    ]
    assert ours == []


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*OURS, *ROOT.glob("tests/**/*.py")]}
    assert {name(path): count for path, count in lines.items() if count > 300} == {}
    written = [lines[path] for path in OURS if path.name != "__init__.py"]
    assert statistics.median(written) <= 120


def test_functions_are_short() -> None:
    long = {
        f"{name(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path, tree in TREES.items()
        for node in functions(tree)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > 50
    }
    assert long == {}


def test_folders_are_not_deep() -> None:
    assert [name(path) for path in OURS if len(path.relative_to(ROOT).parts) > 3] == []


@pytest.mark.parametrize("group", GROUPS)
def test_one_final_class_per_file_and_the_file_is_named_after_it(group: str) -> None:
    for path in (path for path in OURS if path.parent == ROOT / group):
        final = [node.name for node in classes(path) if is_final(node)]
        if final:
            assert [node.name for node in classes(path)] == final, (
                f"{name(path)}: a final class stands alone in its file"
            )
            assert [snake(one) for one in final] == [path.stem]


def test_one_corpus_per_file_and_the_file_is_named_after_it() -> None:
    found = 0
    for path in (path for path in OURS if path.parent == ROOT / "clinlm/corpora"):
        readers = [node for node in classes(path) if "Corpus" in [getattr(base, "id", "") for base in node.bases]]
        found += len(readers)
        assert [snake(node.name) for node in readers] in ([], [path.stem])
        assert all(is_final(node) for node in readers), f"{name(path)}: classes are abstract or final"
    assert found


def test_nothing_is_pickled() -> None:
    found = []
    for path, tree in TREES.items():
        found += [f"{name(path)} imports {one}" for one in imported(tree) if one.partition(".")[0] in UNPICKLERS]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        found += [f"{name(path)}:{call.lineno} {ast.unparse(call.func)}" for call in calls if unpickles(call)]
    assert found == []


def unpickles(call: ast.Call) -> bool:
    """Whether a call may run code out of a file: Lightning and torch pickle unless told `weights_only=True`."""
    function = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if function in ("torch.save", "np.save", "numpy.save") or function.endswith(("_pickle", ".load_from_checkpoint")):
        return True
    if function in ("torch.load", "load_checkpoint") or "ckpt_path" in given:
        return given.get("weights_only") != "True"
    return given.get("allow_pickle", "False") != "False"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("trainer.fit(module, ckpt_path=path)", True),
        ("trainer.fit(module, ckpt_path=path, weights_only=True)", False),
        ("trainer.fit(module)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("pl.read_parquet(path)", False),
    ],
)
def test_pickling_is_found(code: str, found: bool) -> None:
    call = ast.parse(code).body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    assert unpickles(call.value) == found


def test_what_is_public_says_what_it_does() -> None:
    silent = []
    for path, tree in TREES.items():
        public: list[ast.Module | ast.ClassDef | ast.FunctionDef] = [tree, *classes(path)]
        for body in (tree.body, *(node.body for node in classes(path))):
            public += [node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        silent += [f"{name(path)}:{getattr(node, 'name', 'file')}" for node in public if not ast.get_docstring(node)]
    assert silent == []


METHODS = sorted(
    path
    for group in ("prune", "factorize", "quantize", "recover")
    for path in ROOT.glob(f"conf/{group}/*")
    if path.stem != "none"
)


@pytest.mark.parametrize("path", METHODS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_method_has_a_card(path: Path) -> None:
    module, _, attribute = str(OmegaConf.load(path)._target_).rpartition(".")
    card = getattr(importlib.import_module(module), attribute).__doc__ or ""
    missing = [
        heading for heading in ("Source", "Changes", "Cost") if not re.search(rf"^    {heading} +\S", card, re.M)
    ]
    assert not missing, f"{attribute}: the docstring is the method's card and has the lines Source, Changes, Cost"
