"""Token pruning: layers drop the tokens of a row that receive least attention."""

from typing import ClassVar, final

import numpy as np

from callbacks.base import Compression
from callbacks.prune.base import check_ratio
from clinlm.compression.costs import layer_multiplications
from clinlm.compression.token_shares import BUCKETS, LEVELS, TokenShares, choose_shares, level_costs, measure_errors
from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_at_least
from clinlm.models import structure
from clinlm.models.layers.token_pruning_encoder import kept_tokens
from clinlm.models.model import Edit, Model
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import TokensKept


@final
class Tokens(Compression):
    """Let every layer hand on only the tokens of a row that receive most attention, so that later layers compute less.

    Source    Goyal et al. 2020, "PoWER-BERT", arXiv:2001.08950: scores, and the place between attention and FFN; Kim
              and Cho 2021, "Length-adaptive transformer", arXiv:2010.07003: shares of a row's length; Kim et al. 2022,
              "Learned token pruning" (LTP), arXiv:2107.00910, equation 2: the mean over heads and tokens.
    Names     our `ratio` is one minus their relative FLOPs, of the layers alone.
    Changes   which tokens layers see; no weight.
    Needs     `documents` training documents without labels; a BERT, RoBERTa, ELECTRA or DistilBERT that answers rows.
    Cost      five passes forward over these documents per layer; a second copy of the network.
    Departs   shares are neither learnt (PoWER-BERT, LTP) nor searched by evolution (Kim and Cho): each layer's error is
              measured alone at five shares, and the best shares within the budget are found exactly, by dynamic
              programming over the sum. Dropped tokens do not come back for the answer. Where a layer drops tokens,
              attention is computed unfused; in training, scores are of attention weights after dropout.
    Clashes   tasks of entities, which answer every token; relative positions; stages that cut layers, later ones.

    Args:
        ratio: share of the layers' multiplications to remove, over the rows of calibration documents; in (0, 1). More
            of a long row's than of a short one's, as attention grows with the square.
        documents: calibration documents.

    Raises:
        ConfigError: a setting out of range, or (in `prepare`) no shares remove so much, or the network answers tokens.
        ModelError: (in `prepare`) layers drop tokens already, or are not known.
    """

    technique: ClassVar[str] = "pruning"
    of_documents: ClassVar[bool] = True  # see `clinlm.cli.preflight`

    def __init__(self, ratio: float = 0.5, documents: int = 32) -> None:
        check_ratio(ratio)
        check_at_least("prune.documents", documents, 1)
        self.ratio, self.documents = ratio, documents
        self._rows: list[TokensKept] = []

    def dry_run(self, model: Model) -> None:
        structure.check_token_pruning(model.network)
        model.apply(_edit([LEVELS[0]] * len(structure.layers(model.network.body))))

    def prepare(self, module: Module) -> None:
        network = module.network
        structure.check_token_pruning(network)
        batches = module.data.calibration(self.documents, module.seed)
        tokens = np.concatenate([batch["attention_mask"].sum(1).numpy() for batch in batches])
        costs = level_costs(network, tokens)
        whole, least = costs[:, 0, 0].sum(), costs[0, 0, -1] + costs[1:, -1, -1].sum()
        budget = (1 - self.ratio) * whole
        shares = choose_shares(measure_errors(network, batches, module.task.long_notes), costs, budget)
        if shares is None:
            raise ConfigError(
                # Rounded down; costs were rounded up to a part of the budget.
                f"prune.ratio must be at most {int(100 * (1 - least / whole / (1 - len(costs) / BUCKETS))) / 100:.2f} "
                f"on these documents, got {self.ratio:g}: the first layer reads all tokens; lower it, or prune layers "
                "first (prune=depth)"
            )
        self._rows = _rows(structure.layers(network.body), shares, tokens)
        module.model.apply(_edit(shares.percents))

    def report(self) -> MethodReport:
        """Return the share of tokens that leaves every layer."""
        return MethodReport(tuple(self._rows))


def _edit(percents: list[int]) -> Edit:
    return Edit("clinlm.models.surgery.prune_tokens", {"percents": percents})


def _rows(layers: list[structure.Layer], shares: TokenShares, tokens: np.ndarray) -> list[TokensKept]:
    rows, entering = [], tokens
    for number, (layer, percent) in enumerate(zip(layers, shares.percents, strict=True)):
        leaving = kept_tokens(tokens, percent)
        rows.append(
            TokensKept(
                number,
                percent,
                float(entering.mean()),
                float(leaving.mean()),
                layer_multiplications(layer, tokens, tokens),
                layer_multiplications(layer, entering, leaving),
                shares.errors[number],
            )
        )
        entering = leaving
    return rows
