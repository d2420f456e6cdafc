"""Laws of what counts as the code of a result: the definitions that it reaches, without their messages."""

import importlib
from pathlib import Path
from typing import Any

import pytest

import clinlm
from clinlm.config.errors import ConfigError
from clinlm.store import sources as code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose files are modules of `clinlm`: zz_one imports zz_two, which names zz_three in a string."""
    files = {
        "zz_one": '"""A sentence."""\nimport os\nfrom clinlm import zz_two as two\n\nclass One:\n    two = two.two\n',
        "zz_two": "PATH = 'clinlm.zz_three.three'\n\ndef two():\n    return PATH\n\ndef other():\n    return zz_four\n",
        "zz_three": "from clinlm.zz_one import One\n\ndef three(zz_four):\n    return One\n",
        "zz_four": "def four():\n    return 4\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(clinlm, "__path__", [*clinlm.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    return tmp_path


SETTINGS = {"some": [{"_target_": "clinlm.zz_one.One", "value": 1}]}


def forget() -> None:
    """Read every module again."""
    for cached in (code._located, code._definition, code._module):
        cached.cache_clear()


def sources(settings: Any) -> dict[str, str]:
    """Return what a new process finds: one process keeps to the code that it imported."""
    forget()
    return code.sources(settings)


def test_definitions_reach_what_they_name(package: Path) -> None:
    names = ["clinlm.zz_one:One", "clinlm.zz_three:three", "clinlm.zz_two:PATH", "clinlm.zz_two:two"]
    assert list(sources(SETTINGS)) == names
    assert sources({"_target_": "clinlm.zz_four.four"}).keys() == {"clinlm.zz_four:four"}
    assert sources({"_target_": "torch.nn.Linear"}) == {}
    assert code.sources(None, ["clinlm.zz_two.other"]).keys() == {"clinlm.zz_two:other"}


@pytest.mark.parametrize("name", ["zz_one", "zz_two", "zz_three"])
def test_a_digest_changes_with_code_and_not_with_words(package: Path, name: str) -> None:
    before, path = sources(SETTINGS), package / f"{name}.py"
    text = path.read_text()
    path.write_text(
        '"""Another sentence."""\n'
        + text.removeprefix('"""A sentence."""').replace(":\n", ':  # why\n    """What."""\n\n')
    )
    assert sources(SETTINGS) == before
    path.write_text(text.replace("return", "return 1 +").replace("two = two.two", "two = two.two + 1"))
    changed = sources(SETTINGS)
    assert {one.partition(":")[0] for one in before if changed[one] != before[one]} == {f"clinlm.{name}"}
    (package / "zz_four.py").write_text("def four():\n    return 5\n")
    assert sources(SETTINGS) == changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("raise ValueError('a', two)", "raise ValueError(f'b {other}' + 'c', two)"),
        ("assert two, 'a'", "assert two"),
        ("log.info('a %s', two)", "print('b')"),
        ("warnings.warn('a', stacklevel=2)", "self.console.print('b', len(two))"),
    ],
)
def test_messages_do_not_count(package: Path, before: str, after: str) -> None:
    path = package / "zz_two.py"
    text = path.read_text()
    path.write_text(text.replace("    return PATH", f"    {before}\n    return PATH"))
    found = sources(SETTINGS)
    path.write_text(text.replace("    return PATH", f"    {after}\n    return PATH"))
    assert sources(SETTINGS) == found


@pytest.mark.parametrize("line", ["raise ValueError(2)", "log.info('a', one())", "self.log('a', 1)", "two.note('a')"])
def test_what_may_have_an_effect_counts(package: Path, line: str) -> None:
    before, path = sources(SETTINGS), package / "zz_two.py"
    path.write_text(path.read_text().replace("    return PATH", f"    {line}\n    return PATH"))
    assert sources(SETTINGS) != before


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("from clinlm import zz_four\ndef new():\n    return zz_four.four", True),
        ("from clinlm import zz_four\ndef new():\n    return vars(zz_four)", True),
        ("import clinlm.zz_four\ndef new():\n    return clinlm.zz_four.four", True),
        ("def new():\n    from clinlm.zz_four import four as f\n    return f", True),
        ("from .zz_four import four\nclass new(four): pass", True),
        ("from clinlm.zz_four import four\ndef new(x: four): pass", True),
        ("from clinlm.zz_four import four\nnew = 1\nregister(four)", True),
        ("from clinlm.zz_four import four\nfor new in [four]: pass", True),
        ("from clinlm.zz_four import four\ndef new():\n    def inner():\n        four = 1\n    return four", True),
        ("from clinlm.zz_four import four\ndef new():\n    global four\n    four = four()", True),
        ("from clinlm.zz_four import four\ndef new(four):\n    return four", False),
        ("from clinlm.zz_four import four\ndef new():\n    four = 1\n    return four", False),
        ("from clinlm.zz_four import four\nclass new:\n    four = 1", False),
        ("from clinlm.zz_four import four\ndef new(): pass\ndef old(): four()", False),
        ("from clinlm.zz_four import four\ndef new():\n    raise ValueError(f'{four()}')", False),
    ],
)
def test_names_are_resolved(package: Path, text: str, reached: bool) -> None:
    (package / "zz_new.py").write_text(text)
    importlib.invalidate_caches()
    found = sources({"_target_": "clinlm.zz_new.new"})
    assert any(name.startswith("clinlm.zz_four:") for name in found) is reached


def test_what_no_module_defines_is_the_whole_module(package: Path) -> None:
    (package / "zz_new.py").write_text("from clinlm.zz_two import missing\ndef new():\n    return missing")
    importlib.invalidate_caches()
    assert "clinlm.zz_two:<module>" in sources({"_target_": "clinlm.zz_new.new"})
    with pytest.raises(ConfigError, match="got 'clinlm.zz_five.Five': no such module; check the spelling"):
        sources({"_target_": "clinlm.zz_five.Five"})


def test_a_package_of_the_user_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zz_own").mkdir()
    (tmp_path / "zz_own" / "method.py").write_text("from . import part\nclass Method:\n    do = part.do\n")
    (tmp_path / "zz_own" / "part.py").write_text("def do():\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(sources({"_target_": "zz_own.method.Method"})) == ["zz_own.method:Method", "zz_own.part:do"]


@pytest.mark.parametrize("folder", ["lib/python3/site-packages", "lib/python3/dist-packages"])
def test_a_library_is_none_of_the_users_wherever_it_lies(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in this environment: that of --system-site-packages or --user. A lazy import of its own name has no end."""
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "zz_library.py").write_text("from zz_library import name\n")
    monkeypatch.syspath_prepend(tmp_path / folder)
    assert sources({"_target_": "zz_library.name"}) == {}


def test_a_process_keeps_to_the_code_it_began_with(package: Path) -> None:
    before = sources(SETTINGS)
    (package / "zz_two.py").write_text("def two():\n    return 22\n")
    assert code.sources(SETTINGS) == before != sources(SETTINGS)


def test_the_code_of_a_method_is_all_that_it_does() -> None:
    found = {
        name.partition(":")[0] for name in code.sources({"_target_": "callbacks.prune.smart_griffin.SmartGriffin"})
    }
    assert {"callbacks.base", "callbacks.prune.ffn", "clinlm.models.structure", "clinlm.tasks.base"} <= found
    assert not [name for name in found if name.startswith(("clinlm.report", "clinlm.config", "callbacks.prune.random"))]
