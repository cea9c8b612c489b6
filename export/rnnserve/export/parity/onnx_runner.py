"""An ONNX model, ready to run on arrays by name."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.onnx_process import OnnxProcess, RemoteSession
from rnnserve.export.parity.onnx_worker import Session

__all__ = ["PROVIDERS", "OnnxRunner"]

PROVIDERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
)
"""By device, as the table of limits names it: onnxruntime's providers. For CUDA, load its libraries first
(`onnxruntime.preload_dlls()`), unless they are on the linker's path."""


class OnnxRunner:
    """Runs an ONNX model on one thread, so that the bits of a result do not depend on the machine's cores.

    Attributes:
        provider: What onnxruntime runs it on, for example "CPUExecutionProvider".
        inputs: The names of the model's inputs.
        outputs: The names of its outputs.
    """

    def __init__(
        self,
        model: bytes,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        optimized: bool = True,
        process: OnnxProcess | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: The bytes of an ONNX file.
            providers: Providers of onnxruntime, the wanted one first.
            optimized: Whether onnxruntime may rewrite the graph.
            process: Process in which the model runs, if it is of unknown origin; this one where it is None.

        Raises:
            RuntimeError: If onnxruntime refuses the model or does not have the provider; with its message.
        """
        self._session = (
            Session(model, providers, optimized=optimized)
            if process is None
            else RemoteSession(process, model, providers, optimized=optimized)
        )
        self.provider = self._session.provider
        if self.provider != providers[0]:  # onnxruntime falls back to the CPU silently
            raise RuntimeError(f"onnxruntime runs on {self.provider} where {providers[0]} was asked for")
        self.inputs = self._session.inputs
        self.outputs = self._session.outputs

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Run the model.

        Args:
            inputs: Every input by name. Those that the model does not have are left out.

        Returns:
            Every output by name.

        Raises:
            RuntimeError: If onnxruntime refuses the inputs; with its message.
        """
        feeds = {name: np.asarray(array, order="C") for name, array in inputs.items() if name in self.inputs}
        return dict(zip(self.outputs, self._session.run(feeds), strict=True))
