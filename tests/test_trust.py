"""What an installation is held to: hashes for every pin, a list of what is installed, a document that names it all."""

import hashlib
import importlib.util
import os
import re
from email.message import Message
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    """Return a script of .ci as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pin_has_hashes_and_no_other_has() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    text = (ROOT / ".ci" / "hashed.txt").read_text(encoding="utf-8")
    rows = [row.split() for row in text.replace("\\\n", " ").splitlines() if row[0] != "#"]
    assert [row[0] for row in rows] == pins, "run python .ci/hashes.py, which needs uv"
    assert all(row[1:] and all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", word) for word in row[1:]) for row in rows)


def test_hashes_are_added_to_those_of_the_same_pin_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = script("hashes")
    monkeypatch.setattr(hashes, "PINS", tmp_path / "pins.txt")
    monkeypatch.setattr(hashes, "HASHED", tmp_path / "hashed.txt")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    uv = tmp_path / "uv"  # answers with names as an index writes them, and one hash each, made of the version
    uv.write_text("#!/bin/sh\ntr A-Z_ a-z- | sed -E 's/(.*==([0-9])\\S*)/\\1 --hash=sha256:'$(printf %063d 0)'\\2/'\n")
    uv.chmod(0o755)
    wheel = tmp_path / "torch-2.1+cpu-cp311.whl"
    wheel.write_bytes(b"a wheel")
    built = hashlib.sha256(b"a wheel").hexdigest()
    (tmp_path / "pins.txt").write_text("# words\nMy_Own==1.0\ntorch==2.1\n")
    hashes.main(str(wheel))
    first = hashes.read_hashes((tmp_path / "hashed.txt").read_text())
    assert first == {"My_Own==1.0": {f"{1:064}"}, "torch==2.1": {built}}
    (tmp_path / "pins.txt").write_text("My_Own==3.0\ntorch==2.1\n")
    hashes.main()
    assert hashes.read_hashes((tmp_path / "hashed.txt").read_text()) == {
        "My_Own==3.0": {f"{3:064}"},
        "torch==2.1": {built},
    }
    with pytest.raises(SystemExit, match="must be one of torch==2.1, got"):
        hashes.main(str(tmp_path / "torch-2.2+cpu-cp311.whl"))


def test_what_a_package_brings_is_all_that_can_be_reached() -> None:
    packages = script("packages")
    installed = {packages.normal(one.name): one for one in metadata.distributions()}
    # Again, and slower: sets grow until nothing is added. Without extras, which hydra-core and wandb ask for nowhere.
    found = {name: {name} for name in ("wandb", "hydra-core")}
    for reached in found.values():
        while True:
            needs = [Requirement(line) for name in reached for line in installed[name].requires or []]
            more = {
                canonicalize_name(one.name) for one in needs if not one.marker or one.marker.evaluate({"extra": ""})
            }
            if more & installed.keys() <= reached:
                break
            reached |= more & installed.keys()
    assert {name: packages.needed(name, installed) for name in found} == found
    assert "requests" in found["wandb"], "the test would find one left out"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("License-Expression", "MIT OR 0BSD"), ("License", "other")], "MIT OR 0BSD"),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("Classifier", "Typing :: Typed")], "BSD License"),
        ([("License", "Apache 2.0")], "Apache 2.0"),
        ([("License", "A text\nof lines")], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_licence_is_what_the_metadata_say_or_unknown(fields: list[tuple[str, str]], said: str) -> None:
    package = Message()
    for name, value in fields:
        package[name] = value
    assert script("packages").licence(package) == said


def test_the_document_names_every_package_that_clinlm_asks_for() -> None:
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    _, listed, _ = re.split("<!-- /?packages -->", text)
    installed = dict(re.findall(r"^\| ([\w.-]+) (\S+) \|", listed, re.M))
    told = {name for row in re.findall(r"^\| ([\w., -]+) \|", text, re.M) for name in row.split(", ")}
    asked = {canonicalize_name(one.name) for _, one in script("packages").direct()}
    assert asked <= told, "say who makes it and what it would send"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert installed and {name: version.partition("+")[0] for name, version in installed.items()} == {
        name: pins[name] for name in installed
    }, "run make sbom after make test, then python -m clinlm.report.readme docs/trust.md packages=build/packages.md"
