"""General distillation: learning to read, without labels, before the task."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.hidden_state_losses.base import HiddenStateLoss
from clinlm.training.modules.imitation import Imitation
from clinlm.training.modules.masked_language import MaskedLanguageHead, Masking
from clinlm.training.optimizer import AdamW


@final
class General(Imitation):
    """A model that learns to guess masked tokens of the notes, and to compute what its teacher does of the same rows.

    Source: Sanh et al. 2019 (DistilBERT), arXiv:1910.01108, section 3: masked language modelling and hidden states at
    once; Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, section 3.2, who name it so. Departs: the notes are those of
    the task (training documents and its transfer set) and not Wikipedia; the teacher is the stage's, which may have
    learnt the task already; its guesses of masked tokens are not imitated, for it has lost the head that made them.

    Of the network only the encoder learns. What guesses the tokens is thrown away afterwards. `val/mlm_loss` is that of
    validation documents, of which the same tokens are masked at every epoch: it says which epoch is kept, and when to
    stop (conf/stage/general.yaml).

    Args:
        hidden_state_loss: of the first teacher's network; None to guess tokens only.
        share: of the tokens that are masked, in (0, 1).
        learning_rate: peak, of the body; None for that of `optimizer`.
        teacher: the first teacher that is a network, for the hidden_state_loss. The rest as `Module`.

    Raises:
        ValueError: a share out of its range; (before training) an encoder that is not BERT-like or DistilBERT, or a
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
            raise ValueError(f"general.share is a share of the tokens in (0, 1); got {share}")
        if learning_rate is not None:
            optimizer = optimizer.at(learning_rate, optimizer.head_learning_rate)
        super().__init__(model, data, adapter, optimizer, lambda *_: _refused(), hidden_state_loss, teacher, seed)
        self.share = share
        self._guessed: list[tuple[float, int]] = []

    def prepare(self, body: nn.Module) -> None:
        """See `Module.prepare`."""
        try:
            hidden = structure.hidden_size(body)
        except ValueError:
            raise ValueError(
                "general distillation needs an encoder that computes a hidden state of every token: BERT-like or "
                f"DistilBERT; the student is a {type(body).__name__}; take the stage out (~stages.general)"
            ) from None
        self._words = [body.get_input_embeddings()]  # type: ignore[operator]  # in a list: it is the network's
        vectors = self._vectors()
        self.masking = Masking.of(self.model.tokenizer, self.share)
        self.guess = MaskedLanguageHead(hidden, vectors.shape[1], len(vectors))
        super().prepare(body)

    def read(self, batch: Batch) -> Batch:
        """See `Imitation.read`: the teacher reads the masked rows too."""
        return self._masked(batch, None)

    def own_loss(self, batch: Batch) -> Tensor:
        """See `Imitation.own_loss`: a mean over the tokens guessed."""
        return self._guess_loss(batch) / batch["chosen"].sum().clamp(min=1)

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Lightning's hook, in place of that which measures answers."""
        masked = self._masked(batch, torch.Generator().manual_seed(batch_number))
        self._guessed.append((float(self._guess_loss(masked)), int(masked["chosen"].sum())))

    def on_validation_epoch_end(self) -> None:
        """Lightning's hook."""
        loss, tokens = (sum(parts) for parts in zip(*self._guessed, strict=True))
        self._guessed.clear()
        self.log("val/mlm_loss", loss / max(1, tokens), prog_bar=True)

    def _masked(self, batch: Batch, generator: torch.Generator | None) -> Batch:
        read, chosen = self.masking(batch["input_ids"], batch["attention_mask"].bool(), generator)
        return batch | {"input_ids": read, "chosen": chosen, "written": batch["input_ids"]}

    def _guess_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Return the cross-entropy, a sum over the tokens guessed."""
        body: Any = self.network.body
        hidden = body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        chosen = batch["chosen"]
        return functional.cross_entropy(
            self.guess(hidden[chosen], self._vectors()), batch["written"][chosen], reduction="sum"
        )

    def _vectors(self) -> Float[Tensor, "tokens embedding"]:
        """Return the vector of every token: the table, or what a factorised one says."""
        (words,) = self._words
        if isinstance(words, nn.Embedding):
            return words.weight
        vectors: Tensor = words(torch.arange(words.num_embeddings, device=self.device))
        return vectors


def _refused() -> Tensor:
    raise RuntimeError("general distillation has no answers to take a loss of")
