"""Run ONNX models on arrays by name."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PROVIDERS", "OnnxRunner"]

PROVIDERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
)
"""onnxruntime's providers for each device in the table of limits. For CUDA, first load its libraries
(`onnxruntime.preload_dlls()`), unless they are on the linker's path."""


class OnnxRunner:
    """Runs an ONNX model on one thread, so that the bits of a result don't depend on the number of cores.

    Raises RuntimeError with onnxruntime's message if onnxruntime rejects the model or its inputs, or if the first
    provider isn't available.
    """

    def __init__(
        self, model: bytes, *, providers: Sequence[str] = ("CPUExecutionProvider",), optimized: bool = True
    ) -> None:
        """Load the bytes of an ONNX file. With `optimized`, onnxruntime may rewrite the graph."""
        self._session = _session(model, providers, optimized=optimized)
        self.provider: str = self._session.get_providers()[0]
        self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]
        if self.provider != providers[0]:  # onnxruntime falls back to the CPU silently
            raise RuntimeError(f"onnxruntime runs on {self.provider} instead of {providers[0]}")

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Compute every output by name. Ignores inputs that the model doesn't have."""
        feeds = {name: np.asarray(array, order="C") for name, array in inputs.items() if name in self.inputs}
        try:
            return dict(zip(self.outputs, self._session.run(None, feeds), strict=True))
        except Exception as error:
            raise RuntimeError(f"onnxruntime cannot run the model: {_in_a_line(error)}") from error


def _session(model: bytes, providers: Sequence[str], *, optimized: bool) -> "onnxruntime.InferenceSession":
    import onnxruntime  # takes 0.1 s, and `rnnserve export --help` doesn't need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # callers report errors, and check the results that it warns about
    # TF32 on tensor cores keeps only 10 of float32's 23 mantissa bits, so verification would fail. Servers disable it.
    of_each = [{"use_tf32": "0"} if name == "CUDAExecutionProvider" else {} for name in providers]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=list(providers), provider_options=of_each)
        session.disable_fallback()  # to the CPU, if a call fails on another provider
    except Exception as error:  # onnxruntime's errors share no other base class
        raise RuntimeError(f"onnxruntime cannot load the model: {_in_a_line(error)}") from error
    return session


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
