"""A deployment answers as its artifact, is recognised by transformers, and is never taken for what it is not."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.pipelines import built, kept
from transformers import AutoConfig, AutoTokenizer

from callbacks.quantize.static import Static
from clinlm.config.errors import ConfigError, ModelError
from clinlm.engines.base import Answer, Engine, Logits, Rows, engine_path, find_engine, stored_engine
from clinlm.engines.deployment import Deployment
from clinlm.engines.export import deploy
from clinlm.engines.open_model import open_model
from clinlm.engines.torch import Torch
from clinlm.models.artifact import Artifact
from clinlm.models.layers.base import Matrix
from clinlm.models.model import Model
from clinlm.models.size import folder_bytes
from clinlm.store.content import RECORD, Damaged, sealed, verify
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.multilabel import MultiLabel

pytestmark = pytest.mark.usefixtures("graphs")
ENGINES = [name for name in ("torch", "onnxruntime", "openvino") if not find_engine(name).missing()]


@pytest.fixture(scope="module")
def artifact(task: MultiLabel, tmp_path_factory: pytest.TempPathFactory, _tiny_model: Model) -> Artifact:
    """Return a network in INT8 with predictions and a report, as a stage leaves it."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clinlm.pipeline.stage.measure_peak_mib", lambda folder, tokens: 1.0)
        return built(root / "int8", task, kept(_tiny_model, root / "start"), {"quantize": Static(documents=16)})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the process of its own in which memory is measured."""
    monkeypatch.setattr("clinlm.engines.export.memory", lambda folder, tokens, engine: (1.0, 2.0))


class Wrong(Engine):
    """Eager torch that answers otherwise: by `shift` in every logit, or with fewer integers than there are."""

    name = "torch"
    shift = 0.0
    integers: int | None = None

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return "0"

    def export(self, model: Model, folder: Path) -> None:
        Torch().export(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        right = Torch().open(folder, threads)

        def answer(input_ids: Rows, attention_mask: Rows) -> Logits:
            return right(input_ids, attention_mask) + np.float32(self.shift)

        return answer

    def matrices(self, folder: Path) -> list[Matrix]:
        return Torch().matrices(folder)

    def integer_products(self, folder: Path) -> int:
        return Torch().integer_products(folder) if self.integers is None else self.integers


@pytest.mark.parametrize("name", ENGINES)
def test_a_deployment_is_whole_recognised_and_made_once(
    name: str, artifact: Artifact, task: MultiLabel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = deploy(artifact, find_engine(name), task, tmp_path / "store")
    verify(made.folder)
    assert made.facts["agreement"] >= 0.995 and made.facts["largest_difference"] <= 0.05
    assert made.facts["integer_products"] >= 25  # six linear layers in each of four, and the head
    deployed = folder_bytes(made.folder, ("predictions.safetensors", "deployment.json", RECORD))
    assert made.facts["bytes"] == deployed

    config = AutoConfig.from_pretrained(made.folder)
    assert list(config.id2label.values()) == list(task.examples.labels)
    assert config.problem_type == "multi_label_classification"
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    assert tokenizer.model_max_length == 32 and tokenizer("a cast")["input_ids"]

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(made.folder, elsewhere, ignore=shutil.ignore_patterns(RECORD, "predictions*"))
    monkeypatch.setattr("clinlm.engines.export._build", lambda *rest: pytest.fail("it was made before"))
    assert deploy(artifact, find_engine(name), task, tmp_path / "store") == made
    use, alone = open_model(elsewhere), task.encode(artifact.load().tokenizer, 32)
    number = task.examples.members("test")[0]
    batch = alone.collate([int(number)])
    found = use.answer(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    np.testing.assert_allclose(found[0], made.predictions("test")[0], atol=1e-5)
    assert use.engine.name == name and use.inference_config.labels == task.examples.labels
    served, shipped = use.inference_config, InferenceConfig.load(artifact.folder)
    own = task.fit_conformal(served.probabilities(made.predictions("validation")))
    assert served.conformal == own and (served.thresholds == shipped.thresholds).all(), "its own sets, our decisions"


@pytest.mark.parametrize("name", ENGINES)
def test_a_damaged_deployment_is_not_opened(name: str, artifact: Artifact, task: MultiLabel, tmp_path: Path) -> None:
    made = deploy(artifact, find_engine(name), task, tmp_path)
    (made.folder / "serving.json").write_text("{}")
    with pytest.raises(Damaged, match="serving.json"):
        open_model(made.folder)
    assert deploy(artifact, find_engine(name), task, tmp_path).facts["engine"] == name  # set aside, and made anew
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_an_engine_from_elsewhere_is_reopened_by_its_class(
    artifact: Artifact, task: MultiLabel, tmp_path: Path
) -> None:
    made = deploy(artifact, Wrong(), task, tmp_path)
    assert made.facts["engine_class"] == engine_path(Wrong()) and not made.facts["engine_class"].startswith("clinlm.")
    assert type(open_model(made.folder).engine) is Wrong
    for path, message in (("os.system", "Python itself"), ("nowhere.Engine", r"add allow=\[nowhere\.\]")):
        with pytest.raises(ConfigError, match=message):
            find_engine(path)


def test_a_deployment_imports_no_package_that_is_not_imported_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored file names a class, and importing its module would run it."""
    (tmp_path / "foreign_engine.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    facts = {"engine": "fast", "engine_class": "foreign_engine.Fast"}
    with pytest.raises(ModelError, match=r"got 'foreign_engine.Fast'; if you trust its package, import it first"):
        stored_engine(facts)
    assert "foreign_engine" not in sys.modules
    monkeypatch.setitem(sys.modules, "foreign_engine", SimpleNamespace(Fast=Wrong))
    assert type(stored_engine(facts)) is Wrong


def test_a_deployment_of_another_version_has_an_engine_by_name() -> None:
    assert type(stored_engine({"engine": "torch"})) is Torch, "early deployments have no class"
    assert type(stored_engine({"engine": "torch", "engine_class": "clinlm.old.torch.Torch"})) is Torch
    with pytest.raises(ModelError, match="the engine 'turbo' was made by another version of clinlm; rebuild it"):
        stored_engine({"engine": "turbo"})


def test_an_export_that_answers_otherwise_fails(artifact: Artifact, task: MultiLabel, tmp_path: Path) -> None:
    engine = Wrong()
    engine.shift = 0.5
    with pytest.raises(RuntimeError, match="predictions of torch must match the artifact's"):
        deploy(artifact, engine, task, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # nobody takes it for one that passed
    engine.shift = float("nan")
    with pytest.raises(RuntimeError, match="finite"):
        deploy(artifact, engine, task, tmp_path)


def test_integers_that_are_not_multiplied_as_such_fail(artifact: Artifact, task: MultiLabel, tmp_path: Path) -> None:
    engine = Wrong()
    engine.integers = 3
    with pytest.raises(RuntimeError, match="must compute .* INT8 layers in integers"):
        deploy(artifact, engine, task, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and sealed(path)]


def test_files_larger_than_the_artifact_fail(
    artifact: Artifact, task: MultiLabel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that an engine keeps as floats are no matrix of a product: bytes tell."""

    def export(self: Engine, model: Model, folder: Path) -> None:
        Torch().export(model, folder)
        (folder / "table.bin").write_bytes(bytes(2 * 2**20))

    monkeypatch.setattr(Wrong, "export", export)
    with pytest.raises(RuntimeError, match="must have at most .* bytes"):
        deploy(artifact, Wrong(), task, tmp_path)


def test_an_artifact_opens_as_it_is(artifact: Artifact, task: MultiLabel) -> None:
    use, network = open_model(artifact.folder), artifact.load().network
    ids = torch.tensor([[2, 7, 9, 3]])
    with torch.inference_mode():
        expected = network(ids, torch.ones_like(ids)).numpy()
    np.testing.assert_array_equal(use.answer(ids.numpy(), np.ones_like(ids.numpy())), expected)
    assert use.inference_config.labels == InferenceConfig.load(artifact.folder).labels == task.examples.labels


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"an artifact or deployment must have a serving\.json"):
        open_model(tmp_path)


def test_a_model_without_its_tokenizer_is_looked_for_nowhere_else(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`folder/tokenizer`, where there is no such folder, reads like the name of a repository on the Hub."""
    shutil.copytree(artifact.folder, tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer", RECORD))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *rest, **more: pytest.fail("it was asked for"))
    with pytest.raises(
        FileNotFoundError,
        match=r"must have tokenizer/ .* or deployment\.json .*, has neither",
    ):
        open_model(Path("model"))


def test_a_deployment_reads_its_own_facts(artifact: Artifact, task: MultiLabel, tmp_path: Path) -> None:
    made = deploy(artifact, Torch(), task, tmp_path)
    assert Deployment(made.folder).facts["documents"] == len(task.examples.members("validation")) + len(
        task.examples.members("test")
    )
