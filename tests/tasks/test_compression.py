"""Every method, every start and every engine works on a tagger as on a model of documents: found by globbing conf/."""

import copy
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from support import taggers
from support.pipelines import FAST, built, composed, factory, kept

from callbacks.prune.tokens import Tokens
from clinlm.config.errors import ConfigError
from clinlm.config.validation import CONF
from clinlm.engines.base import find_engine
from clinlm.engines.export import deploy
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.layers.base import reads_alone
from clinlm.models.model import Model
from clinlm.predict.model_answerer import predict_file
from clinlm.predict.settings import PredictSettings
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.tasks.entities import Entities
from clinlm.terminology.spans import Span
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import predict
from clinlm.training.modules.general import General
from clinlm.training.modules.student import Student
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick", "graphs")


def options(*groups: str) -> list[tuple[str, str]]:
    """Group and option, of those that do anything."""
    found = [(group, path) for group in groups for path in sorted(CONF.glob(f"{group}/*.yaml")) if path.stem != "none"]
    hub = "clinlm.models.initializers.pretrained.Pretrained"
    return [(g, p.stem) for g, p in found if p.stem == "folder" or OmegaConf.load(p).get("_target_") != hub]


IDS = "{}".format
OF_DOCUMENTS = [("recover", "fair"), ("prune", "tokens")]
METHODS, STARTS, HIDDEN_STATE_LOSSES = (
    # Two are of documents: see `test_dropping_tokens_is_refused` and tests/callbacks/test_fair.py.
    [own for own in options("prune", "factorize", "quantize", "recover") if own not in OF_DOCUMENTS],
    [own for own in options("model") if own != ("model", "wide")],  # of documents: see tests/models/test_wide.py
    options("hidden_state_loss"),
)
SMALL = {"documents": 9, "rank": 4, "epochs": 1, "layers": 1, "hidden_size": 16, "embedding_size": 8, "heads": 2}
SMALL |= {"intermediate_size": 24, "filters": 5, "vocabulary": 150, "min_count": 1, "ratio": 0.25}
OWN: dict[tuple[str, str], dict[str, Any]] = {
    ("prune", "vocabulary"): {"min_count": 3},
    ("model", "pkd"): {"layers": [0, 2]},
    ("model", "bert_scratch"): {"config": {"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2}},
}
IMITATE = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation(alpha=0.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, entities: Entities, _tiny_tagger: Model) -> DictConfig:
    """Every option of these groups, as the command line composes it, under its group and name."""
    every = [*METHODS, *STARTS, *HIDDEN_STATE_LOSSES]
    config = composed(
        Path(entities.corpus.root),  # type: ignore[attr-defined]
        tmp_path_factory.mktemp("composed") / "store",
        *taggers.TINY,
        *(f"+{group}@made.{group}.{name}={name}" for group, name in every),
    )
    folder = tmp_path_factory.mktemp("folder")
    _tiny_tagger.network.body.save_pretrained(folder)  # type: ignore[operator]
    _tiny_tagger.tokenizer.save_pretrained(folder)
    for group, name in every:
        node = config.made[group][name]
        small = {} if group == "hidden_state_loss" else SMALL | {"name": str(folder)}
        OmegaConf.set_struct(node, False)
        known = {*node, *inspect.signature(get_class(node._target_)).parameters}  # a yaml leaves out what is a default
        node.update({key: value for key, value in small.items() if key in known})
        node.update(OWN.get((group, name), {}))
    return config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def teacher(root: Path, entities: Entities, _tiny_tagger: Model, quick: None) -> Artifact:
    """A trained tagger."""
    start = kept(copy.deepcopy(_tiny_tagger), root / "start")
    module = factory(Teacher, adapter=Full(), optimizer=FAST)
    return built(root / "teacher", entities, start, {}, module=module, epochs=3)


@pytest.fixture(scope="module")
def convolution(root: Path, entities: Entities, teacher: Artifact, made: DictConfig) -> Artifact:
    """A tagger with filters."""
    return kept(instantiate(made.made.model.text_cnn).begin(entities, teacher.load()), root / "convolution")


def check(artifact: Artifact, task: Entities) -> Model:
    """A loaded artifact answers for every word what it was stored with, and its answers can be judged."""
    model = artifact.load()
    data = TaskData(task, model.tokenizer, model.max_tokens)
    size = 1 if reads_alone(model.network) else 32
    _, logits = predict(model.network, data.loader(task.examples.members("test"), size), task.long_notes)
    assert logits.shape == (len(task.examples.units("test")), task.outputs) and np.isfinite(logits).all()
    np.testing.assert_array_equal(logits, artifact.predictions("test"))
    assert set(task.evaluate("test", task.probabilities(logits), None).quality()) == set(task.metrics)
    return model


@pytest.mark.parametrize(("group", "name"), METHODS, ids=IDS)
def test_every_method_works_on_a_tagger(
    group: str,
    name: str,
    made: DictConfig,
    entities: Entities,
    teacher: Artifact,
    convolution: Artifact,
    tmp_path: Path,
) -> None:
    method = instantiate(made.made[group][name])
    parent = convolution if name == "filters" else teacher
    needs = getattr(method, "needs_training", False)
    result = built(tmp_path / name, entities, parent, {name: method}, [teacher], epochs=int(needs))
    check(result, entities)
    assert (result.folder / "model.safetensors").read_bytes() != (parent.folder / "model.safetensors").read_bytes()
    assert result.report["methods"][name]


def test_dropping_tokens_is_refused(entities: Entities, teacher: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prune=tokens needs one answer a row, got a tagger"):
        built(tmp_path / "tokens", entities, teacher, {"prune": Tokens()}, [teacher])


@pytest.mark.parametrize(("group", "name"), STARTS, ids=IDS)
def test_every_start_learns_from_a_tagger(
    group: str, name: str, made: DictConfig, entities: Entities, teacher: Artifact, tmp_path: Path
) -> None:
    start = instantiate(made.made[group][name])
    result = built(tmp_path / name, entities, teacher, {}, [teacher], IMITATE, start=start, epochs=1)
    assert check(result, entities).network.pooling.name == "none"


def test_an_opening_is_refused(made: DictConfig, entities: Entities, teacher: Artifact) -> None:
    start = instantiate(made.made.model.text_cnn, opening=3)
    with pytest.raises(ValueError, match="set student.opening=null"):
        start.begin(entities, teacher.load())


@pytest.mark.parametrize(("group", "name"), HIDDEN_STATE_LOSSES, ids=IDS)
def test_every_feature_of_a_tagger_is_imitated(
    group: str, name: str, made: DictConfig, entities: Entities, teacher: Artifact, tmp_path: Path
) -> None:
    imitate = factory(Student, **IMITATE.arguments, hidden_state_loss=instantiate(made.made[group][name]))
    start = FromTeacher(layers=[0, 2])
    check(built(tmp_path / name, entities, teacher, {}, [teacher], imitate, start=start, epochs=1), entities)


def test_a_student_learns_to_read_first(entities: Entities, teacher: Artifact, tmp_path: Path) -> None:
    general = factory(General, adapter=Full(), optimizer=FAST)
    read = built(tmp_path / "general", entities, teacher, {}, [teacher], general, start=FromTeacher(layers=1), epochs=1)
    lora = factory(Teacher, adapter=Lora(r=2, alpha=4, dropout=0.0), optimizer=FAST)
    check(built(tmp_path / "lora", entities, read, {}, [], lora, epochs=1), entities)


@pytest.mark.parametrize("name", [name for _, name in options("ensemble")])
def test_every_ensemble_is_of_taggers(name: str, entities: Entities, teacher: Artifact) -> None:
    own = teacher.predictions("validation")
    targets = entities.examples.targets[entities.examples.units("validation")]
    rule = instantiate(OmegaConf.load(CONF / f"ensemble/{name}.yaml")).fit(np.stack([own, own]), targets, entities.kind)
    each = teacher.predictions("test")
    together = entities.probabilities(rule.combine(np.stack([each, each])))
    np.testing.assert_allclose(together, entities.probabilities(each), atol=1e-5)


# In use.


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave out the process of its own in which memory is measured; a run of ours sets torch's threads."""
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def integers(root: Path, entities: Entities, teacher: Artifact, made: DictConfig) -> Artifact:
    """A tagger of one layer in INT8, with a head that finds something."""
    small = FromTeacher(layers=1).begin(entities, teacher.load())
    torch.manual_seed(0)
    torch.nn.init.normal_(small.network.head.weight, std=0.5)
    torch.nn.init.zeros_(small.network.head.bias)
    start = kept(small, root / "small")
    return built(root / "integers", entities, start, {"quantize": instantiate(made.made.quantize.static)})


@pytest.mark.parametrize("engine", [name for name in ("onnxruntime", "openvino") if not find_engine(name).missing()])
def test_an_engine_finds_the_spans_of_the_artifact(
    engine: str, entities: Entities, integers: Artifact, tmp_path: Path
) -> None:
    result = deploy(integers, find_engine(engine), entities, tmp_path)
    test = entities.examples.members("test")
    texts = entities.examples.frame[test].select("id", "text")
    texts.write_ndjson(tmp_path / "notes.jsonl")
    found = {}
    for name, folder in (("artifact", integers.folder), ("engine", result.folder)):
        paths = [f"artifact={folder}", f"input={tmp_path / 'notes.jsonl'}", f"output={tmp_path / name}.parquet"]
        assert predict_file(PredictSettings.of([*paths, "threads=1"])).documents == len(test)
        found[name] = [[Span(*list(one.values())[:3]) for one in own] for own in _spans(tmp_path / f"{name}.parquet")]
    judged = entities.evaluate("test", entities.probabilities(integers.predictions("test")), None)
    exact = entities.evaluate("test", entities.probabilities(result.predictions("test")), None)
    assert found["artifact"] == judged.found and sum(map(len, judged.found)) > 3
    assert found["engine"] == exact.found


def _spans(path: Path) -> list[list[dict[str, Any]]]:
    import polars as pl

    found: list[list[dict[str, Any]]] = pl.read_parquet(path)["spans"].to_list()
    return found


def test_a_batch_of_a_method_is_of_documents(entities: Entities, teacher: Artifact) -> None:
    """Words have numbers as well: what draws documents must not take them for one another."""
    model = teacher.load()
    data = TaskData(entities, model.tokenizer, model.max_tokens)
    drawn, batches = data.drawn(9, seed=3), data.calibration(9, seed=3)
    train = set(entities.examples.members("train").tolist())
    assert sum(map(len, drawn)) == 9 and {one for batch in drawn for one in batch} <= train
    for numbers, batch in zip(drawn, batches, strict=True):
        assert all(torch.equal(value, _first(data.encoded.collate(numbers), name)) for name, value in _read(batch))


def _read(batch: Batch) -> list[tuple[str, torch.Tensor]]:
    return [(name, batch[name]) for name in ("input_ids", "attention_mask", "document", "index", "place")]


def _first(batch: Batch, name: str) -> torch.Tensor:
    return batch[name]
