"""Quantisation-aware training on the labels."""

from typing import final

from callbacks.quantize.aware import QuantizationAware


@final
class Qat(QuantizationAware):
    """Train with weights, embeddings and inputs rounded as they will be, then make them INT8.

    Source    S4 (fake quantisation in training, observers frozen after 60 % of the epochs); Jacob et al. 2018,
              "Quantization and training of neural networks", arXiv:1712.05877, section 3; Bengio et al. 2013,
              arXiv:1308.3432 (gradients).
    Changes   every linear layer and embedding table but those of `skip` and `spare`: weights learn and become integers.
    Needs     `documents` training documents for the first ranges of inputs.
    Cost      `epochs` of training, each a little slower than in float; with `spare`, one pass over validation documents
              for every layer. The model that comes out runs on CPUs only.
    Departs   ranges of inputs begin where calibration finds them, not with the first batch. What lies between linear
              layers stays in float, and nothing is folded: a BERT has no batch norms.
    Clashes   adapters other than `full`; masks of the same stage. Comes last: integers are neither trained nor pruned.

    Args: see `QuantizationAware`.
    """
