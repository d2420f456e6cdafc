"""INT8 linear layers with calibrated input ranges."""

from typing import final

from callbacks.quantize.calibrated import Calibrated


@final
class Static(Calibrated):
    """Quantise weights to INT8 after training, and inputs to levels fixed by calibration on training documents.

    Source    "clinical edge deployment" (static post-training quantisation with 100 calibration batches); Nagel et al.
              2021, "A white paper on neural network quantization", arXiv:2106.08295, section 3.
    Changes   every linear layer and embedding table except `skip` and `spare`: weights become integers.
    Needs     `documents` training documents, forward only.
    Cost      one pass over them, two with `percentile` or `entropy`; with `spare`, one pass over validation documents
              per layer. The resulting model runs on CPUs only.
    Departs   operations between linear layers (norms, softmax, activations) stay float. Weights use 127 of 255 levels
              (`clinlm.models.layers.rounding`).
    Clashes   must come last: integers can be neither trained nor pruned nor factorised.

    Args: see `Calibrated`.
    """
