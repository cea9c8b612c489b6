"""onnxruntime itself in the place of a module."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.onnx_runner import OnnxRunner
from rnnserve.export.parity.reference import MOVED, moved_inputs

__all__ = ["OnnxTruth"]


class OnnxTruth:
    """An ONNX model that is judged by its own results: by how they change, not by whether they are right.

    Attributes:
        runner: The model.
    """

    def __init__(self, runner: OnnxRunner) -> None:
        self.runner = runner

    @property
    def exact_by(self) -> str:
        """There is no float64: results are judged by moved inputs."""
        return MOVED

    def eager(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Run the model.

        Raises:
            RuntimeError: If onnxruntime refuses the inputs.
        """
        return self.runner(inputs)

    def exact(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Give the same results as float64."""
        return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in self.eager(inputs).items()}

    def moved(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Iterator[Arrays]:
        """Run the model on inputs moved by an ulp."""
        yield from map(self.eager, moved_inputs(inputs))
