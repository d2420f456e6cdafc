"""Laws of the key: it changes with what can change a result, and with nothing else."""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from clinlm.config.resolvers import register_resolvers
from clinlm.config.validation import CONF
from clinlm.store import sources as code
from clinlm.store.key import cache_key, digest

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(), plain, max_size=4))
def test_a_digest_is_of_the_content_and_not_of_its_order(content: dict[str, Any]) -> None:
    backwards = dict(reversed(content.items()))
    assert digest(backwards) == digest(content) == digest(json.loads(json.dumps(content)))
    assert len(digest(content)) == 12 and int(digest(content), 16) >= 0
    assert digest({**content, "one more": 0}) != digest({**content, "one more": 1})


def test_a_digest_tells_kinds_apart_and_refuses_what_is_no_json() -> None:
    told_apart = [None, 0, 1, 1.0, True, "1", [1], [[1]], {"1": 1}, {}, [], ""]
    assert len({digest(one) for one in told_apart}) == len(told_apart)
    with pytest.raises(ValueError):
        digest([float("nan")])
    with pytest.raises(TypeError):
        digest([Path("/")])


Edit = Callable[[str], str]
SCRIPT = """
import json
from store import test_key
print(json.dumps(test_key.keys()))
"""


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Mapping[str, Edit]], None]]:
    """Return a function that edits modules, by name, as the key reads them."""
    read = code._read

    def edit(edits: Mapping[str, Edit]) -> None:
        def edited(name: str) -> tuple[str | None, bool]:
            text, package = read(name)
            return (edits[name](text) if text and name in edits else text), package

        monkeypatch.setattr(code, "_read", edited)
        forget()

    yield edit
    forget()


def forget() -> None:
    for cached in (code._located, code._definition, code._module):
        cached.cache_clear()


@functools.cache
def parts() -> dict[str, dict[str, Any]]:
    """Return, by name, what a key is made of: of the task, every stage, a deployment and a labeler of pipeline C."""
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["pipeline=c", "precision=32-true", "quantize=none"])
    stages = {str(name): OmegaConf.to_container(config.stages[name], resolve=True) for name in config.stages}
    found = {name: {"settings": stage} for name, stage in stages.items() if "quantize" not in name}
    engine = "clinlm.engines.onnxruntime.Onnxruntime"
    labeler = OmegaConf.to_container(OmegaConf.load(CONF / "labeler" / "ontology.yaml"), resolve=False)
    return found | {
        "task": {"settings": OmegaConf.to_container(config.task, resolve=True)},
        "deployment": {"settings": {"_target_": engine}, "code": ["clinlm.engines.export.deploy"]},
        "labeler": {"settings": labeler},
    }


def keys() -> dict[str, str]:
    return {name: cache_key(**part) for name, part in parts().items()}


def modules() -> set[str]:
    """Return the modules that the keys count in part."""
    found = {name for part in parts().values() for name in code.sources(**part)}
    whole = {name.partition(":")[0] for name in found if name.endswith(":<module>")}
    scripts = {"clinlm.models.memory", "clinlm.engines.served_memory", "clinlm.pipeline.rank"}
    assert whole <= scripts, "these run as scripts, to measure memory or to train on another device"
    return {name.partition(":")[0] for name in found} - whole


def replaced(text: str, nodes: list[ast.expr], by: str) -> str:
    """Return source text with other text in place of some expressions."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = text.encode()
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        content = content[:start] + by.encode() + content[end:]
    return content.decode()


def reworded(text: str) -> str:
    """Return a module with other docstrings, error texts, log messages and comments."""
    nodes: list[ast.expr] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            nodes += [one for one in node.exc.args if isinstance(one, ast.Constant | ast.JoinedStr)][:1]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            nodes.append(node.value)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args:
            if ast.unparse(node.value.func).startswith("log."):
                nodes += [one for one in node.value.args[:1] if isinstance(one, ast.Constant | ast.JoinedStr)]
    return replaced(text, [one for one in nodes if not (isinstance(one, ast.Constant) and one.value is ...)], '"..."')


@pytest.mark.parametrize(
    "edited",
    [
        reworded,
        lambda text: f"{text}\n\n# A comment.\n",
        lambda text: f"{text}\n\nclass Unused:\n    def method(self): return 1\n",
    ],
    ids=["words", "comment", "class"],
)
def test_words_and_unused_classes_change_no_key(edited: Edit, edit: Callable[[Mapping[str, Edit]], None]) -> None:
    before, names = keys(), modules()
    assert len(names) > 40 and len(set(before.values())) >= 7
    edit(dict.fromkeys(names, edited))
    assert keys() == before


def test_what_runs_a_pipeline_changes_no_key(edit: Callable[[Mapping[str, Edit]], None]) -> None:
    """Console, logging, settings checks, the store, the report, and a method of the same group that is not used."""
    before = keys()
    spoilt = [f"clinlm.{name}" for name in _under("config") + _under("tracking") + _under("store") + _under("report")]
    edit(dict.fromkeys([*spoilt, "callbacks.prune.wanda", "callbacks.quantize.dynamic"], lambda text: "spoilt = 1\n"))
    assert keys() == before


def _under(package: str) -> list[str]:
    return [f"{package}.{path.stem}" for path in Path(code.__file__).parents[1].joinpath(package).glob("*.py")]


def arithmetic(text: str) -> str:
    """Return a module in which every product is a sum."""
    products = [one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mult)]
    for product in products:
        product.op = ast.Add()
    assert products
    return replaced(text, products[:1], ast.unparse(products[0]))


STAGES = {"teacher", "prune_teacher", "recover_teacher", "student", "prune_student", "recover_student"}


@pytest.mark.parametrize(
    ("module", "edited", "changed"),
    [
        ("clinlm.training.distillation", arithmetic, {"student"}),
        (
            "clinlm.training.distillation",
            lambda text: text.replace("alpha: float = 0", "alpha: float = 9"),
            {"student"},
        ),
        ("clinlm.training.optimizer", lambda text: text.replace("warmup: float = 0", "warmup: float = 9"), STAGES),
        (
            "callbacks.prune.ffn",
            lambda text: text.replace("unbiased=False", "unbiased=True"),
            {"prune_teacher", "prune_student"},
        ),
        ("clinlm.text.words", lambda text: f"{text}\n_PARTS += 1\n", STAGES | {"task"}),
        (
            "clinlm.corpora.synthetic.synthetic",
            lambda text: text.replace("patients: int = 1", "patients: int = 2"),
            {"task"},
        ),
    ],
    ids=["loss", "default", "optimizer", "pruning", "words", "corpus"],
)
def test_code_that_can_change_a_result_changes_its_key(
    module: str, edited: Edit, changed: set[str], edit: Callable[[Mapping[str, Edit]], None]
) -> None:
    before = keys()
    text, _ = code._read(module)
    assert text and edited(text) != text
    edit({module: edited})
    after = keys()
    assert changed <= {name for name in before if after[name] != before[name]} <= changed | {"deployment", "labeler"}


def test_settings_that_change_no_result_are_not_counted() -> None:
    trainer = {"_target_": "lightning.Trainer", "devices": 1, "limit_train_batches": 2}
    base = {"role": "teacher", "seed": 0, "trainer": trainer, "corpus": {"root": "here", "columns": [{"root": "a"}]}}
    same = {"role": "student", "seed": 0, "trainer": trainer | {"devices": 2, "accelerator": "gpu"}, "teachers": ["b"]}
    assert cache_key(base) == cache_key(
        same | {"corpus": {"root": "there", "columns": [{"root": "b"}], "lists_root": 1}}
    )
    for other in ({"seed": 1}, {"trainer": trainer | {"limit_train_batches": 3}}, {"callbacks": {"role": 1}}):
        assert cache_key(base | other) != cache_key(base), other
    assert len({cache_key(base), cache_key(base, "file"), cache_key(base, "other")}) == 3


def test_a_new_process_finds_the_same_keys() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'tests')!r}]{SCRIPT}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout) == keys()
