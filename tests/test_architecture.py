"""Laws of the layout: who imports whom, what files are called, how long they are, and that nothing is pickled."""

import ast
import importlib
import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
OURS = sorted([*ROOT.glob("clinlm/**/*.py"), *ROOT.glob("callbacks/**/*.py")])
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in OURS}

ORDER = (
    *("__main__", "cli", "report", "sweepers", "predict", "pipeline", "compression", "engines", "training", "models"),
    *("tasks", "metrics", "labelers", "corpora", "text", "terminology", "files", "store", "tracking", "config"),
)
"""The packages of clinlm from the top down: a package imports only from itself and from packages after it."""

CALLBACKS = ORDER.index("compression")
"""`callbacks` imports from this package downward, and no package imports `callbacks`."""

JUNK = ("utils", "util", "helpers", "helper", "common", "misc", "core")

GROUPS = (
    *(f"callbacks/{group}" for group in ("factorize", "prune", "quantize", "recover", "schedules")),
    *(f"clinlm/models/{group}" for group in ("adapters", "initializers", "layers")),
    *(f"clinlm/training/{group}" for group in ("augmentation", "hidden_state_losses", "modules", "teachers")),
    *(f"clinlm/{group}" for group in ("sweepers", "tracking")),
)
"""Folders with one final class per file; files without a final class hold what the others share."""

STEMS = {"MTSamples": "mtsamples", "MultiClass": "multiclass", "MultiLabel": "multilabel", "NullLogger": "none"}
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


def rank(module: str) -> int:
    """The place of a module's package in ORDER; names of the root, such as `clinlm.__version__`, are below all."""
    _, package, *_ = [*module.split("."), ""]
    return ORDER.index(package) if package in ORDER else len(ORDER)


def violations(module: str, imports: Iterable[str]) -> list[str]:
    """The imports of one module that the order forbids."""
    outside = module.partition(".")[0] == "callbacks"
    own = CALLBACKS if outside else rank(module)
    found = []
    for wanted in imports:
        package = wanted.partition(".")[0]
        if (package == "callbacks" and not outside) or (package == "clinlm" and rank(wanted) < own):
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


def test_packages_import_downward() -> None:
    modules = [(dotted(path), tree) for path, tree in TREES.items() if dotted(path) != "clinlm"]
    assert [wrong for module, tree in modules for wrong in violations(module, imported(tree))] == []


def test_the_root_holds_packages_and_nothing_else() -> None:
    files = {path.name for path in (ROOT / "clinlm").iterdir() if path.is_file()}
    packages = {path.parent.name for path in (ROOT / "clinlm").glob("*/__init__.py")}
    assert (
        files == {"__init__.py", "__main__.py", "py.typed"}
        and packages == set(ORDER) - {"__main__"}
        and len(packages) <= 20
    )


def test_compression_computes_without_lightning() -> None:
    folder = ROOT / "clinlm/compression"
    found = {name(path): set(imported(tree)) for path, tree in TREES.items() if path.parent == folder}
    assert [path for path, wanted in found.items() if any("lightning" in one.split(".")[0] for one in wanted)] == []


def test_promises_are_declared_and_not_probed() -> None:
    """The pipeline and its report read what a type declares: no `getattr` or `hasattr` with the name of a promise."""
    folders = [ROOT / "clinlm/pipeline", ROOT / "clinlm/report", ROOT / "callbacks"]
    found = []
    for path, tree in TREES.items():
        if any(folder in path.parents for folder in folders):
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
            probes = [call for call in calls if ast.unparse(call.func) in ("getattr", "hasattr")]
            found += [f"{name(path)}:{call.lineno}" for call in probes if isinstance(call.args[1], ast.Constant)]
    assert found == []


def test_a_forbidden_import_is_found() -> None:
    assert violations("clinlm.store.x", ["clinlm.tasks.base.Task"]) == ["clinlm.store.x imports clinlm.tasks.base.Task"]
    assert violations("clinlm.pipeline.x", ["callbacks.base"]) == ["clinlm.pipeline.x imports callbacks.base"]
    assert violations("callbacks.prune.x", ["clinlm.pipeline.stage", "callbacks.base", "clinlm.models.model"]) == [
        "callbacks.prune.x imports clinlm.pipeline.stage"
    ]


def test_nothing_is_called_utils() -> None:
    places = [path for path in ROOT.glob("**/*") if path.suffix in ("", ".py", ".yaml") and path.stem in JUNK]
    ours = [
        name(path) for path in places if path.relative_to(ROOT).parts[0] in ("clinlm", "callbacks", "conf", "tests")
    ]
    assert ours == []


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*OURS, *ROOT.glob("tests/**/*.py")]}
    assert {name(path): count for path, count in lines.items() if count > 500} == {}
    written = [lines[path] for path in OURS if path.name != "__init__.py"]
    assert statistics.median(written) <= 130


def test_functions_are_short() -> None:
    long = {
        f"{name(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path, tree in TREES.items()
        for node in functions(tree)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > 50
    }
    assert long == {}


def test_a_public_name_has_one_meaning() -> None:
    """No public class or function of one file has the name of one in another; only `main` does."""
    places: dict[str, list[str]] = {}
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name(path))
    assert {public: files for public, files in places.items() if len(files) > 1 and public != "main"} == {}


def test_folders_are_not_deep() -> None:
    assert [name(path) for path in OURS if len(path.relative_to(ROOT).parts) > 4] == []


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
    for path in (path for path in OURS if ROOT / "clinlm/corpora" in path.parents):
        bases = {node: {getattr(base, "id", "") for base in node.bases} for node in classes(path)}
        readers = [node for node, names in bases.items() if names & {"Corpus", "FolderCorpus"}]
        found += len(readers)
        assert [snake(node.name) for node in readers] in ([], [path.stem])
        abstract = [node for node in readers if "ABC" in bases[node]]
        assert all(is_final(node) for node in readers if node not in abstract), (
            f"{name(path)}: classes are abstract or final"
        )
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


CLASSES = {node.name: node for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)}


def documented(node: ast.ClassDef) -> set[str]:
    """Return the methods of a class that have a docstring, their own or that of a base class of ours."""
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    parents = [CLASSES[base.id] for base in bases if isinstance(base, ast.Name) and base.id in CLASSES]
    own = {item.name for item in node.body if isinstance(item, ast.FunctionDef) and ast.get_docstring(item)}
    return own.union(*map(documented, parents))


def test_what_is_public_says_what_it_does() -> None:
    """An overriding method inherits its docstring, as `inspect.getdoc` shows it."""
    silent = []
    for path, tree in TREES.items():
        public: list[ast.Module | ast.ClassDef | ast.FunctionDef] = [tree, *classes(path)]
        public += [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        silent += [f"{name(path)}:{getattr(node, 'name', 'file')}" for node in public if not ast.get_docstring(node)]
        for owner in classes(path):
            methods = {item.name for item in owner.body if isinstance(item, ast.FunctionDef)}
            missing = {method for method in methods if not method.startswith("_")} - documented(owner)
            silent += [f"{name(path)}:{owner.name}.{method}" for method in missing]
    assert silent == []


METHODS = ("prune", "factorize", "quantize", "recover")


@pytest.mark.parametrize("group", METHODS)
def test_every_method_has_a_card(group: str) -> None:
    for path in (path for path in sorted(ROOT.glob(f"conf/{group}/*.yaml")) if path.stem != "none"):
        module, _, attribute = str(OmegaConf.load(path)._target_).rpartition(".")
        card = getattr(importlib.import_module(module), attribute).__doc__ or ""
        missing = [
            heading for heading in ("Source", "Changes", "Cost") if not re.search(rf"^    {heading} +\S", card, re.M)
        ]
        assert not missing, f"{attribute}: the docstring is the method's card and has the lines Source, Changes, Cost"
