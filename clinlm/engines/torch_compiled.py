"""Torch, compiled for this processor."""

import shutil
from pathlib import Path
from typing import final

import torch

from clinlm.config.errors import ModelError
from clinlm.engines.base import NETWORK_FILES, Answer, Engine
from clinlm.engines.torch import integer_products, network_answers, network_matrices
from clinlm.models import artifact as artifacts
from clinlm.models.layers.base import Matrix
from clinlm.models.model import Model


@final
class TorchCompiled(Engine):
    """`torch.compile`: the files of an artifact, compiled when they are opened.

    Needs a C++ compiler and, before the first prediction of each process, about ten seconds.
    """

    name = "torch_compiled"
    files = NETWORK_FILES

    def missing(self) -> str:
        return "" if shutil.which("g++") or shutil.which("clang++") else "a C++ compiler (g++ or clang++)"

    def version(self) -> str:
        return str(torch.__version__)

    def export(self, model: Model, folder: Path) -> None:
        """See `Engine.export`.

        Raises:
            ModelError: the network has layers that multiply in integers, which torch.compile does not compile.
        """
        if integer_products(model.network):
            raise ModelError(
                "torch.compile needs float layers; it would call INT8 layers one by one as eager torch does; use "
                "engine=onnxruntime or openvino"
            )
        artifacts.save_network(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """See `Engine.open`. Torch's number of threads holds for the whole process: the last model sets it."""
        if threads is not None:
            torch.set_num_threads(threads)
        return network_answers(torch.compile(artifacts.load_network(folder), dynamic=True))

    def matrices(self, folder: Path) -> list[Matrix]:
        return network_matrices(artifacts.load_network(folder))

    def integer_products(self, folder: Path) -> int:
        return integer_products(artifacts.load_network(folder))
