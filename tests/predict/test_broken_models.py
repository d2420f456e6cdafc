"""Whatever is broken in the folder of a model, `clinlm predict` serves it or refuses it by name."""

import json
import random
import sys
from itertools import islice
from pathlib import Path

import pytest
from support.broken_models import NEVER_READ, WAYS, Broken, attacks, break_copy, judged, said_by_predict

from clinlm.config.errors import ModelError
from clinlm.models.artifact import load
from clinlm.store.content import RECORD, seal


@pytest.mark.parametrize("seed", range(3))
def test_a_broken_file_is_named(seed: int, model_folder: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    for number, attack in enumerate(islice(attacks(model_folder, rng), 8)):
        place = tmp_path / str(number)
        place.mkdir()
        model = break_copy(model_folder, place / "model", attack, rng)
        status, told = said_by_predict(model, place)
        assert judged(status, told, model) in ("served", "refused"), f"{attack}: {told}"


def test_every_missing_file_is_named(model_folder: Path, tmp_path: Path) -> None:
    files = [path.relative_to(model_folder) for path in model_folder.rglob("*") if path.is_file()]
    needed = [str(name) for name in files if name.parts[0] not in (*NEVER_READ, RECORD)]
    assert len(needed) >= 6 and "deleted" in WAYS
    for number, name in enumerate(needed):
        place = tmp_path / str(number)
        place.mkdir()
        model = break_copy(model_folder, place / "model", Broken(name, "deleted", "none"), random.Random(0))
        status, told = said_by_predict(model, place)
        assert status == 1 and name.rpartition("/")[2] in told and "Traceback" not in told, told


def test_a_link_out_of_the_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    model = break_copy(model_folder, tmp_path / "model", Broken(RECORD, "deleted", "none"), random.Random(0))
    (model / "spec.json").rename(tmp_path / "spec.json")
    (model / "spec.json").symlink_to(tmp_path / "spec.json")
    status, told = said_by_predict(model, tmp_path)
    assert status == 1 and "spec.json, which is a link" in told, told


def test_code_that_a_model_brings_is_neither_run_nor_asked_for(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question would take its answer, `y` or a note, from standard input."""
    model = break_copy(model_folder, tmp_path / "model", Broken(RECORD, "deleted", "none"), random.Random(0))
    named = {f"Auto{kind}": f"stranger.Own{kind}" for kind in ("Config", "Model", "Tokenizer")}
    for place in (model, model / "tokenizer"):
        (place / "stranger.py").write_text("print('run')\nclass OwnConfig: pass\nOwnModel = OwnTokenizer = OwnConfig\n")
        (place / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": named}))
    own = json.loads((model / "tokenizer" / "tokenizer_config.json").read_text())
    own |= {"auto_map": named | {"AutoTokenizer": ["stranger.OwnTokenizer"] * 2}, "tokenizer_class": "OwnTokenizer"}
    (model / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(own))
    spec = json.loads((model / "spec.json").read_text())
    (model / "spec.json").write_text(json.dumps(spec | {"config": spec["config"] | {"auto_map": named}}))
    seal(model, {"key": "0"})

    def asked(*_: object) -> str:
        raise AssertionError("it asked")

    monkeypatch.setattr("builtins.input", asked)
    for folder in (model_folder, model):
        (tmp_path / f"of-{folder.name}").mkdir()
        status, told = said_by_predict(folder, tmp_path / f"of-{folder.name}")
        assert status == 0 and "run" not in told.split(), told
    both = [(tmp_path / f"of-{folder.name}" / "out.csv").read_bytes() for folder in (model_folder, model)]
    assert both[0] == both[1]
    try:
        load(model)
    except ModelError as error:
        assert "needs no code of its own" in str(error)
    assert not [name for name in sys.modules if "stranger" in name]
