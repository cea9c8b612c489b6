"""An ONNX model, ready to run on arrays by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from rnnserve.export.module_interface import Arrays

__all__ = ["OnnxRunner"]


class OnnxRunner:
    """Runs an ONNX model on one thread, so that the bits of a result do not depend on the machine's cores.

    Attributes:
        provider: What onnxruntime runs it on, for example "CPUExecutionProvider".
        inputs: The names of the model's inputs.
        outputs: The names of its outputs.
    """

    def __init__(
        self, model: bytes, *, providers: Sequence[str] = ("CPUExecutionProvider",), optimized: bool = True
    ) -> None:
        """Load a model.

        Args:
            model: The bytes of an ONNX file.
            providers: onnxruntime's, the wanted one first.
            optimized: Whether onnxruntime may rewrite the graph.

        Raises:
            RuntimeError: If onnxruntime refuses the model or does not have the provider; with its message.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # callers report what it raises, and compare what its warnings are about
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=list(providers))
        except Exception as error:  # onnxruntime's errors have no other class in common
            raise RuntimeError(f"onnxruntime does not take the model: {_in_a_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0]:  # onnxruntime falls back to the CPU silently
            raise RuntimeError(f"onnxruntime runs on {self.provider} where {providers[0]} was asked for")
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Run the model.

        Args:
            inputs: Every input by name. Those that the model does not have are left out.

        Returns:
            Every output by name.

        Raises:
            RuntimeError: If onnxruntime refuses the inputs; with its message.
        """
        feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items() if name in self.inputs}
        try:
            results = self._session.run(None, feeds)
        except Exception as error:
            raise RuntimeError(f"onnxruntime does not run: {_in_a_line(error)}") from error
        return dict(zip(self.outputs, results, strict=True))


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
