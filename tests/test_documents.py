"""The documents: they name files that exist, their links lead somewhere, and their examples run."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import hydra
import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.method_matrix import CONFIGS, FAMILIES, METHODS
from support.pipelines import composed, finished
from test_architecture import ORDER

from clinlm.config.resolvers import register_resolvers
from clinlm.config.usage import unread
from clinlm.config.validation import CONF
from clinlm.labelers.base import Note
from clinlm.models.families import FAMILIES as CUTTABLE
from clinlm.models.families import UNCUTTABLE
from clinlm.models.model import Model

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
WRITTEN = ("outputs/", "lab/", "SWEEP/", "RUN/")
"""Folders that a command, or a reader, makes."""
PLACEHOLDER = re.compile(r"\b[A-Z]{4,}\b|<|\*|…")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`([\w./-]+/[\w.-]+\.(?:py|yaml|md|csv|svg|toml|txt)|[\w.-]+\.(?:py|md|toml|cff))`")


def test_the_table_of_families_is_whole() -> None:
    """Its cells are what `pytest -m families` finds; here, that `python benchmarks/families.py` was not forgotten."""
    lines = (ROOT / "docs" / "families.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0][1:] == FAMILIES and [row[0] for row in rows[2:]] == METHODS
    named = {CONFIGS[family]["model_type"] for family in FAMILIES}
    assert named >= {*UNCUTTABLE} | {*CUTTABLE} - {"xlm-roberta", "camembert"}, "classes of RoBERTa under other names"


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(document: Path) -> None:
    dead = []
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        place, _, anchor = unquote(link).partition("#")
        target = document.parent / place if place else document
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name != "log.md"], ids=lambda path: path.name)
def test_documents_name_files_that_exist(document: Path) -> None:
    """Except the log, which tells of the past."""
    named = [name for name in _PATH.findall(document.read_text(encoding="utf-8")) if "/" in name]
    own = [name for name in named if not name.startswith(WRITTEN) and not PLACEHOLDER.search(name)]
    assert [name for name in own if not (ROOT / name).exists() and not (document.parent / name).exists()] == []


def test_the_readme_is_short_and_its_numbers_are_those_of_the_results() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    results = (ROOT / "docs/results.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| model |"))
    for line in lines[start + 2 : lines.index("", start)]:
        name, *values = (cell.strip() for cell in line.strip("|").split("|"))
        rows = [row for row in results if f"| {name} |" in row]
        assert any(all(value in row for value in values) for row in rows), line


def test_the_documented_order_of_packages_is_the_tested_one() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("<!-- order -->")[2].partition("<!-- /order -->")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.M)) == ORDER


def commands() -> list[str]:
    """Return the pipelines and sweeps that the documents print, without comments."""
    blocks = [re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.S) for path in DOCUMENTS]
    lines = [line for block in chain.from_iterable(blocks) for line in block.replace("\\\n", " ").splitlines()]
    others = "check|predict|label|documents|report|store|agent|-"
    return [line for line in lines if re.match(rf"clinlm (?!{others})|clinlm -m", line)]


@pytest.mark.integration
def test_printed_commands_compose() -> None:
    """Of a sweep, the first job; launchers and sweepers are extras."""
    register_resolvers()
    parser = OverridesParser.create()
    for command in commands():
        words = [word for word in shlex.split(command, comments=True)[1:] if word != "-m"]
        chosen = []
        for override in parser.parse_overrides([word for word in words if not word.startswith("hydra")]):
            swept = override.is_sweep_override() and not override.is_interval_sweep()
            value = (
                "0.5" if "interval(" in override.input_line else next(override.sweep_string_iterator()) if swept else ""
            )
            chosen.append(f"{override.input_line.partition('=')[0]}={value}" if value else override.input_line)
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", chosen)
        assert config.stages and (" -m " in command or unread(config, chosen) == []), command


def test_papers_are_named_and_not_numbered() -> None:
    files = [*DOCUMENTS, *(path for folder in ("conf", "benchmarks") for path in sorted((ROOT / folder).rglob("*.*")))]
    texts = {path: path.read_text(encoding="utf-8") for path in files if "__pycache__" not in path.parts}
    assert [path.name for path, text in texts.items() if re.search(r"\bS[0-4]\b", text)] == []


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write the package of `docs/extending.md` outside the checkout, and let Python find it."""
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(lab/[\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S)
    assert len(files) == 13
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "lab"
    for name in [name for name in sys.modules if name == "lab" or name.startswith("lab.")]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.usefixtures("quick")
def test_a_method_and_a_logger_from_outside_the_checkout(lab: Path, notes_csv: Path, tmp_path: Path) -> None:
    chosen = ("allow=[lab.]", "pipeline=pruning", "prune=first_units", "~stages.recover", "epochs=1")
    place = f"hydra.searchpath=[file://{lab / 'conf'}]"
    config = composed(notes_csv, tmp_path / "store", place, *chosen, "logger=json_tables")
    config.logger.folder = str(tmp_path / "tables")
    teacher, pruned = finished(config)
    assert pruned.artifact.report["parameters"] < teacher.artifact.report["parameters"]


def test_an_adapter_from_outside_the_checkout(lab: Path, tiny_model: Model) -> None:
    adapter = instantiate(OmegaConf.load(lab / "conf/adapter/norms.yaml"))
    adapter.attach(tiny_model.network)
    learning = {name for name, p in tiny_model.network.body.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in tiny_model.network.body.named_parameters() if "LayerNorm" in name}
    adapter.merge(tiny_model.network)
    assert all(parameter.requires_grad for parameter in tiny_model.network.parameters())


def test_a_corpus_from_outside_the_checkout(lab: Path, tmp_path: Path) -> None:
    for name, text in (("asthma/a", "a wheeze"), ("gout/b", "a red toe")):
        (tmp_path / "notes" / name).parent.mkdir(parents=True)
        (tmp_path / "notes" / f"{name}.txt").write_text(text)
    corpus = instantiate(OmegaConf.load(lab / "conf/corpus/folders.yaml"))(str(tmp_path / "notes"))
    assert corpus.records().frame["labels"].to_list() == [["asthma"], ["gout"]] and len(corpus.fingerprint()) == 64


def test_a_labeler_from_outside_the_checkout(lab: Path) -> None:
    labeler = instantiate(OmegaConf.load(lab / "conf/labeler/capitals.yaml"))
    (answer,) = labeler.label([Note("known COPD, no MI, CHF")])
    assert [(span.start, span.end) for span in answer.spans] == [(6, 10), (19, 22)]


def test_an_engine_from_outside_the_checkout(lab: Path, tiny_model: Model, tmp_path: Path) -> None:
    engine = instantiate(OmegaConf.load(lab / "conf/engine/bfloat16.yaml"))
    (tmp_path / "export").mkdir()
    engine.export(tiny_model, tmp_path / "export")
    rows, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.long)
    with torch.inference_mode():
        expected = tiny_model.network.eval()(rows, mask).numpy()
    found = engine.open(tmp_path / "export")(rows.numpy(), mask.numpy())
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert engine.matrices(tmp_path / "export") and engine.integer_products(tmp_path / "export") == 0


def test_an_integer_layer_from_outside_the_checkout(lab: Path, tiny_model: Model) -> None:
    layer = importlib.import_module("lab.weight_only").WeightOnly
    names = [name for name, part in tiny_model.network.named_modules() if isinstance(part, torch.nn.Linear)][:2]
    before = [tiny_model.network.get_submodule(name).weight.detach().clone() for name in names]
    tiny_model.apply(layer.edit(names))
    for name, weight in zip(names, before, strict=True):
        part = tiny_model.network.get_submodule(name)
        assert isinstance(part, layer) and part.matrix().bits == 8
        np.testing.assert_allclose(part.dequantized(), weight, atol=float(weight.abs().max()) / 100)
