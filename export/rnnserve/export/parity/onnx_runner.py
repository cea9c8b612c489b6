"""ONNX models, ready to run on arrays by name, in this process or in one of their own, which some end or block."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity import onnx_worker
from rnnserve.export.parity.onnx_worker import Session, pack, unpack
from rnnserve.export.parity.reference import MOVED, as_float64, moved_inputs

__all__ = ["PROVIDERS", "OnnxProcess", "OnnxRunner", "OnnxTruth"]

_Array = npt.NDArray[Any]

PROVIDERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
)
"""By device, as the table of limits names it: onnxruntime's providers. For CUDA, load its libraries first
(`onnxruntime.preload_dlls()`), unless they are on the linker's path."""

_START_SECONDS = 60.0


class OnnxProcess:
    """Runs the models of `OnnxRunner`s. A context manager: after it the process has ended.

    Once a model has ended or blocked the process, every call raises the same error, without another wait.

    Args:
        seconds: Seconds that loading a model may take, and each run.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: GuardedProcess | None = None
        self._fault = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()

    def ask(self, request: Mapping[str, Any], arrays: Sequence[_Array]) -> tuple[Any, list[_Array]]:
        """Send a request to the process, and wait for its answer.

        Raises:
            RuntimeError: If onnxruntime raises an error, ends the process, or takes too long.
        """
        if not self._fault:
            try:
                if self._process is None:
                    self._process = GuardedProcess(onnx_worker.__file__)
                    self._process.receive(_START_SECONDS)
                self._process.send(pack({**request, "seconds": self._seconds}, arrays), self._seconds)
                answer, results = unpack(self._process.receive(self._seconds))
            except ProcessEnded as error:
                self._fault = f"onnxruntime ended the process that ran the model, {error}"
            except ProcessTooSlow:
                self._fault = f"onnxruntime took longer than {self._seconds:g} s for one run of the model (--timeout)"
        if self._fault:
            raise RuntimeError(self._fault)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer, results


class _RemoteSession:
    """A session in an `OnnxProcess`, used as a `Session` is."""

    def __init__(self, process: OnnxProcess, model: bytes, providers: Sequence[str], *, optimized: bool) -> None:
        self._process = process
        request = {"providers": list(providers), "optimized": optimized}
        answer, _ = process.ask(request, [np.frombuffer(model, np.uint8)])
        self._number: int = answer["number"]
        self.provider: str = answer["provider"]
        self.inputs: list[str] = answer["inputs"]
        self.outputs: list[str] = answer["outputs"]

    def run(self, feeds: Mapping[str, _Array]) -> list[Any]:
        """Run the model; outputs that are not arrays are None."""
        answer, arrays = self._process.ask({"number": self._number, "names": list(feeds)}, list(feeds.values()))
        known = dict(zip(answer["arrays"], arrays, strict=True))
        return [known.get(at) for at in range(len(self.outputs))]


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
        self._session: Session | _RemoteSession
        if process is None:
            self._session = Session(model, providers, optimized=optimized)
        else:
            self._session = _RemoteSession(process, model, providers, optimized=optimized)
        self.provider = self._session.provider
        if self.provider != providers[0]:  # onnxruntime falls back to the CPU silently
            raise RuntimeError(f"onnxruntime runs on {self.provider} where {providers[0]} was asked for")
        self.inputs = self._session.inputs
        self.outputs = self._session.outputs

    def __call__(self, inputs: Mapping[str, _Array]) -> Arrays:
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


class OnnxTruth:
    """An ONNX model in the place of a module: judged by how its own results change, not by whether they are right.

    Attributes:
        runner: The model.
        exact_by: There is no float64: results are judged by moved inputs.
    """

    exact_by = MOVED

    def __init__(self, runner: OnnxRunner) -> None:
        self.runner = runner

    def eager(self, inputs: Mapping[str, _Array]) -> Arrays:
        """Run the model."""
        return self.runner(inputs)

    def exact(self, inputs: Mapping[str, _Array]) -> Arrays:
        """Give the same results as float64."""
        return as_float64(self.eager(inputs))

    def moved(self, inputs: Mapping[str, _Array]) -> Iterator[Arrays]:
        """Run the model on inputs moved by an ulp."""
        yield from map(self.eager, moved_inputs(inputs))
