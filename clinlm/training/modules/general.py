"""General distillation: masked language modelling without labels, before the task."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clinlm.config.errors import ConfigError, ModelError
from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.hidden_state_losses.base import HiddenStateLoss
from clinlm.training.modules.imitation import Imitation
from clinlm.training.modules.masked_language import MaskedLanguageHead, Masking
from clinlm.training.optimizer import AdamW
from clinlm.training.ranks import mean_of_ranks, own_share


@final
class General(Imitation):
    """Trains an encoder to predict masked tokens, and to match its teacher's hidden states on the same rows.

    Source: Sanh et al. 2019 (DistilBERT), arXiv:1910.01108, section 3: masked language modelling and hidden states at
    once; Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, section 3.2, for the name. Departs: the texts are those of the
    task (training documents and its transfer set) and not Wikipedia; the teacher is the stage's, which may be trained
    on the task already; its predictions of masked tokens are not imitated, as it no longer has the head for them.

    Only the encoder of the network trains. The head that predicts tokens is dropped afterwards. `val/mlm_loss` is taken
    on validation documents with the same tokens masked in every epoch: it decides which epoch is kept, and when to stop
    (conf/stage/general.yaml).

    Args:
        hidden_state_loss: against the first teacher's network; None to predict tokens only.
        share: share of the tokens that are masked, in (0, 1).
        learning_rate: peak, of the body; None for that of `optimizer`.
        teacher: the first teacher with a network, for `hidden_state_loss`. The rest as `Module`.

    Raises:
        ConfigError: a share out of its range; (before training) an encoder that is not BERT-like or DistilBERT, or a
            tokenizer without a mask token; and as `Imitation`.
    """

    answers = False

    def __init__(
        self,
        model: Model,
        data: TaskData,
        adapter: Adapter,
        optimizer: AdamW,
        hidden_state_loss: HiddenStateLoss | None = None,
        share: float = 0.15,
        learning_rate: float | None = None,
        teacher: Model | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 < share < 1:
            raise ConfigError(f"general.share must be in (0, 1), got {share}")
        if learning_rate is not None:
            optimizer = optimizer.at(learning_rate, optimizer.head_learning_rate)
        super().__init__(model, data, adapter, optimizer, lambda *_: _no_objective(), hidden_state_loss, teacher, seed)
        self.share = share
        self._guessed: list[tuple[float, int]] = []

    def prepare(self, body: nn.Module) -> None:
        try:
            hidden = structure.hidden_size(body)
        except ModelError:
            raise ConfigError(
                "general distillation needs an encoder with a hidden state for every token, BERT-like or DistilBERT, "
                f"got a {type(body).__name__}; remove the stage (~stages.general)"
            ) from None
        self._words = [body.get_input_embeddings()]  # type: ignore[operator]  # in a list: it belongs to the network
        vectors = self._vectors()
        self.masking = Masking.of(self.model.tokenizer, self.share)
        self.guess = MaskedLanguageHead(hidden, vectors.shape[1], len(vectors))
        super().prepare(body)

    def read(self, batch: Batch) -> Batch:
        return self._masked(batch, None)

    def own_loss(self, batch: Batch) -> Tensor:
        return self._guess_loss(batch) / batch["chosen"].sum().clamp(min=1) * own_share(batch)

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Sum up the loss on masked tokens, instead of evaluating predictions (Lightning's hook)."""
        masked = self._masked(batch, torch.Generator().manual_seed(batch_number))
        loss = self._guess_loss(masked)
        self.check_finite(loss, "loss on validation")
        if own_share(batch):
            self._guessed.append((float(loss), int(masked["chosen"].sum())))

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss over masked tokens (Lightning's hook)."""
        guessed = torch.tensor([(0.0, 0.0), *self._guessed], dtype=torch.float64, device=self.device).sum(0)
        loss, tokens = mean_of_ranks(guessed).tolist()
        self._guessed.clear()
        self.log("val/mlm_loss", loss / tokens if tokens else 0.0, prog_bar=True)

    def _masked(self, batch: Batch, generator: torch.Generator | None) -> Batch:
        read, chosen = self.masking(batch["input_ids"], batch["attention_mask"].bool(), generator)
        return batch | {"input_ids": read, "chosen": chosen, "written": batch["input_ids"]}

    def _guess_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Return the cross-entropy, a sum over the masked tokens."""
        body: Any = self.network.body
        hidden = body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        chosen = batch["chosen"]
        return functional.cross_entropy(
            self.guess(hidden[chosen], self._vectors()), batch["written"][chosen], reduction="sum"
        )

    def _vectors(self) -> Float[Tensor, "tokens embedding"]:
        """Return the vector of every token: the table, or the product of a factorised one."""
        (words,) = self._words
        if isinstance(words, nn.Embedding):
            return words.weight
        vectors: Tensor = words(torch.arange(words.num_embeddings, device=self.device))
        return vectors


def _no_objective() -> Tensor:
    raise RuntimeError("general distillation has no loss on logits")
