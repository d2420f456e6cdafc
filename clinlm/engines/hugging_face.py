"""An artifact as a folder that transformers opens by itself: `config.json`, weights under its names, tokenizer.

`AutoModel` opens the encoder without code of ours. A tagger is a standard class of transformers where the family's
head is one linear layer. A classifier of notes pools its tokens and has no hidden layer before its outputs, which no
standard class does: a file of code with pooling and head lies in the folder; `trust_remote_code=True` loads it.
"""

import copy
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, PreTrainedModel

from clinlm.config.errors import ModelError
from clinlm.models import artifact as artifacts
from clinlm.models import structure
from clinlm.models.families import FAMILIES
from clinlm.models.model import Model
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.tokens import save_tokenizer

CODE: Final = "pooled_classifier.py"
TOLERANCE: Final = 1e-4
"""Largest difference of a logit between the artifact and what transformers opens."""

_TEMPLATE: Final = '''"""Encoder, pooling and a linear head, as clinlm trained them; needs transformers."""

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel, {config}
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifier(PreTrainedModel):
    config_class = {config}
    base_model_prefix = "{prefix}"

    def __init__(self, config):
        super().__init__(config)
        body = AutoModel.from_config(config)
        if hasattr(body, "pooler"):
            body.pooler = None
        self.{prefix} = body
        self.score = None
        if config.pooling == "attention":
            self.score = nn.Linear(config.hidden_size, 1)
        if config.pooling == "label_attention":
            self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        parts = 2 if config.pooling == "max_mean" else 1
        self.classifier = nn.Linear(parts * config.hidden_size, config.num_labels)
        self.post_init()

    def weights(self, hidden, mask):
        scores = self.score(hidden)
        return scores.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(scores.dtype).min).softmax(1)

    def pooled(self, hidden, mask):
        keep = mask.unsqueeze(-1).to(hidden.dtype)
        if self.config.pooling in ("none", "label_attention"):
            return hidden
        if self.config.pooling == "cls":
            return hidden[:, 0]
        mean = (hidden * keep).sum(1) / keep.sum(1)
        if self.config.pooling == "mean":
            return mean
        if self.config.pooling == "attention":
            return (self.weights(hidden, mask) * hidden).sum(1)
        largest = hidden.masked_fill(keep == 0, torch.finfo(hidden.dtype).min).amax(1)
        return largest if self.config.pooling == "max" else torch.cat([largest, mean], -1)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **others):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.{prefix}(input_ids=input_ids, attention_mask=mask).last_hidden_state
        logits = self.classifier(self.pooled(hidden, mask))
        if self.config.pooling == "label_attention":
            logits = (self.weights(hidden, mask) * logits).sum(1)
        return SequenceClassifierOutput(logits=logits)
'''


@final
@dataclass(frozen=True)
class HubFolder:
    """What was written.

    Attributes:
        loader: class of transformers that opens it.
        code: whether it needs `trust_remote_code=True`.
        difference: largest difference of a logit to the artifact's, on random tokens.
    """

    folder: Path
    loader: str
    code: bool
    difference: float

    def line(self) -> str:
        """Return how to open it, in Python."""
        trust = ", trust_remote_code=True" if self.code else ""
        return f'{self.loader}.from_pretrained("{self.folder.name}"{trust})'


def write_hub_folder(artifact: Path, folder: Path) -> HubFolder:
    """Write the model of an artifact into `folder` in the form of transformers, and compare what it opens.

    Raises:
        ModelError: transformers has no such architecture: layers of different widths, fewer heads, integers, factors,
            networks of clinlm's own; or its logits differ.
    """
    model, serving = artifacts.load(artifact), InferenceConfig.load(artifact)
    body: Any = model.network.body
    config = _shaped(model)
    weights = _weights(model, config)
    prefix = str(body.base_model_prefix)
    named = {f"{prefix}.{name}": tensor for name, tensor in weights.items()}
    named |= {f"classifier.{name}": tensor for name, tensor in model.network.head.state_dict().items()}
    if model.network.pooling.score is not None:
        named |= {f"score.{name}": tensor for name, tensor in model.network.pooling.score.state_dict().items()}
    names = dict(enumerate(serving.labels))
    config.id2label, config.label2id = names, {label: number for number, label in names.items()}
    native = serving.kind == "entities" and _is_tagger(config, named)
    _write_config(config, serving, model, native, folder)
    if not native:
        code = _TEMPLATE.format(config=type(config).__name__, prefix=prefix)
        (folder / CODE).write_text(code, encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in named.items()}, folder / artifacts.WEIGHTS, {"format": "pt"}
    )
    serving.save(folder)
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.model_max_length = serving.max_tokens
    save_tokenizer(tokenizer, folder)
    loader = "AutoModelForTokenClassification" if native else "AutoModelForSequenceClassification"
    difference = _difference(model, _open(folder, native))
    if not difference <= TOLERANCE:
        raise ModelError(f"logits of transformers must be those of the artifact, got a difference of {difference:.2g}")
    return HubFolder(folder, loader, not native, difference)


def _shaped(model: Model) -> Any:
    """Return the configuration of transformers with the sizes that the network has now."""
    kind = str(model.spec.config["model_type"])
    config = AutoConfig.for_model(**model.spec.config)
    if not type(config).__module__.startswith("transformers."):
        raise ModelError(f"transformers must have the architecture to open it, {kind} is clinlm's own; use predict")
    body: Any = model.network.body
    if structure.token_pruning(body) is not None:
        raise ModelError(
            "transformers must have the architecture to open it, layers that drop tokens are clinlm's own; use clinlm "
            "predict or an engine (engine=onnxruntime, openvino)"
        )
    if kind in FAMILIES:
        layers = structure.layers(body)
        widths = {layer.down.in_features for layer in layers}
        if len(widths) > 1:
            raise ModelError(
                f"transformers must have one FFN width in all layers, this model has {sorted(widths)}; use "
                "clinlm predict or an engine (engine=onnxruntime, openvino)"
            )
        config.num_hidden_layers = len(layers)
        for name in ("intermediate_size", "hidden_dim"):
            if hasattr(config, name) and widths:
                setattr(config, name, widths.pop())
    table = body.get_input_embeddings()
    if isinstance(table, nn.Embedding):
        config.vocab_size = table.num_embeddings
    return config


def _weights(model: Model, config: Any) -> Mapping[str, Tensor]:
    """Return the weights of the encoder under the names of transformers.

    Raises:
        ModelError: they do not fit its class.
    """
    state = {name: tensor.detach() for name, tensor in model.network.body.state_dict().items()}
    found = FAMILIES.get(config.model_type)
    for fused, parts in (found.parts if found is not None else {}).items():
        for whole in {name.partition(f".{fused}.")[0] for name in state if f".{fused}." in name}:
            for end in ("weight", "bias"):
                pieces = [state.pop(f"{whole}.{fused}.{part}.{end}", None) for part in parts]
                if pieces[0] is not None:
                    state[f"{whole}.{fused}.{end}"] = torch.cat([piece for piece in pieces if piece is not None])
    with torch.device("meta"):
        expected = {
            name: tensor.shape
            for name, tensor in AutoModel.from_config(config, trust_remote_code=False).state_dict().items()
        }
    expected = {name: shape for name, shape in expected.items() if not name.startswith("pooler.")}
    wrong = [
        name for name in sorted({*expected, *state}) if expected.get(name) != getattr(state.get(name), "shape", None)
    ]
    if wrong:
        raise ModelError(
            f"transformers must have the architecture to open it, it has no {config.model_type} with these layers "
            f"({len(wrong)} tensors differ, first {wrong[0]}); use clinlm predict or an engine"
        )
    return state


def _is_tagger(config: Any, named: Mapping[str, Tensor]) -> bool:
    """Return whether the standard tagger of transformers has exactly these weights."""
    with torch.device("meta"):
        try:
            tagger = AutoModelForTokenClassification.from_config(config, trust_remote_code=False)
        except ValueError:  # this family has none
            return False
    return {name: tensor.shape for name, tensor in tagger.state_dict().items()} == {
        name: tensor.shape for name, tensor in named.items()
    }


def _write_config(config: Any, serving: InferenceConfig, model: Model, native: bool, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    problems = {"multilabel": "multi_label_classification", "multiclass": "single_label_classification"}
    content = config.to_dict() | {"torch_dtype": "float32"}
    if native:
        with torch.device("meta"):
            content["architectures"] = [
                type(AutoModelForTokenClassification.from_config(config, trust_remote_code=False)).__name__
            ]
    else:
        content |= {"pooling": model.network.pooling.name, "problem_type": problems.get(serving.kind)}
        content["architectures"] = ["PooledClassifier"]
        content["auto_map"] = {"AutoModelForSequenceClassification": f"{Path(CODE).stem}.PooledClassifier"}
    kept = {name: value for name, value in content.items() if value is not None and name != "_name_or_path"}
    (folder / "config.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _open(folder: Path, native: bool) -> PreTrainedModel:
    """Return the model that transformers opens; of the code in the folder, which is ours, without its cache."""
    if native:
        opened: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=False)
        opened.eval()
        return opened
    spec = importlib.util.spec_from_file_location("clinlm_pooled_classifier", folder / CODE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pooled: PreTrainedModel = module.PooledClassifier.from_pretrained(folder)
    pooled.eval()
    return pooled


@torch.no_grad()
def _difference(model: Model, opened: PreTrainedModel) -> float:
    """Return the largest difference of a logit on two rows of random tokens, one of them padded."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, int(opened.config.vocab_size), (2, min(12, model.max_tokens)), generator=draw)
    mask = torch.ones_like(tokens)
    mask[1, 8:] = 0
    ours: Float[Tensor, "rows *tokens outputs"] = model.network.eval()(tokens, mask)
    theirs: Float[Tensor, "rows *tokens outputs"] = opened(input_ids=tokens, attention_mask=mask).logits
    gap = (ours - theirs).abs()
    return float(gap[mask.bool()].max() if gap.dim() == 3 else gap.max())
