"""An ONNX model, ready to run on arrays by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

__all__ = ["Arrays", "Runner"]

Arrays = dict[str, npt.NDArray[Any]]


class Runner:
    """Runs an ONNX model on one thread, so that a result's bits do not depend on the machine's cores.

    Attributes:
        provider: what onnxruntime runs it on, "CPUExecutionProvider" for one.
        inputs: the names that the model takes.
        outputs: the names that it gives.

    Raises:
        RuntimeError: onnxruntime does not take the model, or has not the provider; in its words.
    """

    def __init__(self, model: bytes, *, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # what it warns of is compared, and named, by those who run it
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=list(providers))
        except Exception as error:  # onnxruntime's have no common class but this one
            raise RuntimeError(f"onnxruntime does not take the model: {_in_a_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0]:  # it falls back to the CPU without a word
            raise RuntimeError(f"onnxruntime runs on {self.provider} where {providers[0]} was asked for")
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Run the model.

        Args:
            inputs: every input by name; those that the model does not take are left out.

        Returns:
            Every output by name.

        Raises:
            RuntimeError: onnxruntime refuses the inputs, in its words.
        """
        feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items() if name in self.inputs}
        try:
            results = self._session.run(None, feeds)
        except Exception as error:
            raise RuntimeError(f"onnxruntime does not run: {_in_a_line(error)}") from error
        return dict(zip(self.outputs, results, strict=True))


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
