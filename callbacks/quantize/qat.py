"""Quantisation-aware training on the labels."""

from typing import final

from callbacks.quantize.aware import QuantizationAware


@final
class Qat(QuantizationAware):
    """Train with weights, embeddings and inputs rounded as after quantisation, then make them INT8.

    Source    "clinical edge deployment" (fake quantisation in training, observers frozen after 60 % of the epochs);
              Jacob et al. 2018, "Quantization and training of neural networks", arXiv:1712.05877, section 3; Bengio et
              al. 2013, arXiv:1308.3432 (gradients).
    Changes   every linear layer and embedding table except `skip` and `spare`: weights learn and become integers.
    Needs     `documents` training documents for the first input ranges.
    Cost      `epochs` of training, each a little slower than in float; with `spare`, one pass over validation documents
              per layer. The resulting model runs on CPUs only.
    Departs   input ranges start from calibration, not from the first batch. Operations between linear layers stay
              float, and nothing is folded: a BERT has no batch norms.
    Clashes   adapters other than `full`; masks of the same stage. Must come last: integers can be neither trained nor
              pruned.

    Args: see `QuantizationAware`.
    """
