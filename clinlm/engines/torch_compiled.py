"""The artifact in torch, compiled for this processor."""

import shutil
from pathlib import Path
from typing import final

import torch

from clinlm.engines.base import Answer, Engine, Rows
from clinlm.engines.matrix import Matrix
from clinlm.engines.torch import integer_layers, network_matrices
from clinlm.models import artifact as artifacts
from clinlm.models.model import Model


@final
class TorchCompiled(Engine):
    """`torch.compile`: the files of an artifact, turned into machine code when they are opened.

    Compiling takes a C++ compiler and, once for every process, some ten seconds: the price of the first answer.
    """

    name = "torch_compiled"

    def missing(self) -> str:
        """See `Engine.missing`."""
        return "" if shutil.which("g++") or shutil.which("clang++") else "a C++ compiler (g++ or clang++)"

    def version(self) -> str:
        """See `Engine.version`."""
        return str(torch.__version__)

    def export(self, model: Model, folder: Path) -> None:
        """See `Engine.export`.

        Raises:
            RuntimeError: layers of integers are no code that it could compile.
        """
        if integer_layers(model.network):
            raise RuntimeError(
                "torch.compile compiles layers of floats; this network has layers of integers, which it would call one "
                "by one as eager torch does; choose engine=onnxruntime or openvino"
            )
        artifacts.save_network(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """See `Engine.open`. Threads are those of the whole process in torch: of two models, the last decides."""
        if threads is not None:
            torch.set_num_threads(threads)
        compiled = torch.compile(artifacts.load_network(folder), dynamic=True)

        def answer(input_ids: Rows, attention_mask: Rows) -> torch.Tensor:
            with torch.no_grad():
                logits: torch.Tensor = compiled(input_ids, attention_mask)
                return logits

        return answer

    def matrices(self, folder: Path) -> list[Matrix]:
        """See `Engine.matrices`."""
        return network_matrices(artifacts.load_network(folder))

    def integer_products(self, folder: Path) -> int:
        """See `Engine.integer_products`."""
        return integer_layers(artifacts.load_network(folder))
