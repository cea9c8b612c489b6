"""Run ONNX models on arrays by name, in this process or in a separate one.

The separate process is for files of unknown origin, which may crash or never return. It runs this file as a program, by
its path. So this file imports neither torch nor the rest of `rnnserve.export`, because these imports take 3 s.
"""

import io
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from rnnserve.common.guarded_process import (
    GuardedProcess,
    ProcessEnded,
    ProcessTooSlow,
    answer_requests,
    limit_processor_seconds,
)

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PROVIDERS", "RUN_SECONDS", "OnnxProcess", "OnnxRunner"]

_Array = npt.NDArray[Any]

PROVIDERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
)
"""onnxruntime's providers for each device in the table of limits. For CUDA, first load its libraries
(`onnxruntime.preload_dlls()`), unless they are on the linker's path."""

RUN_SECONDS = 60.0
"""Default of `--timeout`: seconds to load an imported file, and for each inference call, because it may never end."""

_START_SECONDS = 60.0

_PROCESSOR_TIME = 2
"""Seconds of processor time allowed per second of elapsed time, because several threads may work on a request."""


class OnnxProcess:
    """Runs the models of `OnnxRunner`s in a separate process. A context manager that ends the process on exit.

    Loading a model may take up to `seconds`, and so may each inference call. After a model has crashed or blocked the
    process, every further call raises the same error at once.
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
        """Send a request to the process and return its response. Raises RuntimeError if onnxruntime fails."""
        if not self._fault:
            try:
                if self._process is None:
                    self._process = GuardedProcess(__file__)
                    self._process.receive(_START_SECONDS)
                self._process.send(_pack({**request, "seconds": self._seconds}, arrays))
                answer, results = _unpack(self._process.receive(self._seconds))
            except ProcessEnded as error:
                self._fault = f"onnxruntime ended the process that ran the model, {error}"
            except ProcessTooSlow:
                self._fault = f"onnxruntime took longer than {self._seconds:g} s for one run of the model (--timeout)"
        if self._fault:
            raise RuntimeError(self._fault)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer, results


class OnnxRunner:
    """Runs an ONNX model on one thread, so that the bits of a result don't depend on the number of cores.

    Pass `process` to run a file of unknown origin in a separate process. Raises RuntimeError with onnxruntime's message
    if onnxruntime rejects the model or its inputs, or if the first provider isn't available.
    """

    def __init__(
        self,
        model: bytes,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        optimized: bool = True,
        process: OnnxProcess | None = None,
    ) -> None:
        """Load the bytes of an ONNX file. With `optimized`, onnxruntime may rewrite the graph."""
        self._process = process
        if process is None:
            self._session = _session(model, providers, optimized=optimized)
            self.provider: str = self._session.get_providers()[0]
            self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
            self.outputs: list[str] = [value.name for value in self._session.get_outputs()]
        else:
            request = {"providers": list(providers), "optimized": optimized}
            self._described, _ = process.ask(request, [np.frombuffer(model, np.uint8)])
            self.provider, self.inputs, self.outputs = (self._described[of] for of in ("provider", "inputs", "outputs"))
        if self.provider != providers[0]:  # onnxruntime falls back to the CPU silently
            raise RuntimeError(f"onnxruntime runs on {self.provider} where {providers[0]} was asked for")

    def __call__(self, inputs: Mapping[str, _Array]) -> dict[str, Any]:
        """Compute every output by name. In a separate process, an output other than an array is None.

        Ignores inputs that the model doesn't have.
        """
        feeds = {name: np.asarray(array, order="C") for name, array in inputs.items() if name in self.inputs}
        if self._process is not None:
            request = {"number": self._described["number"], "names": list(feeds)}
            answer, arrays = self._process.ask(request, list(feeds.values()))
            found = dict(zip(answer["arrays"], arrays, strict=True))
            return {name: found.get(name) for name in self.outputs}
        try:
            return dict(zip(self.outputs, self._session.run(None, feeds), strict=True))
        except Exception as error:
            raise RuntimeError(f"onnxruntime does not run: {_in_a_line(error)}") from error


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
        raise RuntimeError(f"onnxruntime does not take the model: {_in_a_line(error)}") from error
    return session


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _pack(fields: Mapping[str, Any], arrays: Sequence[_Array] = ()) -> bytes:
    """Pack fields and arrays into a message. The fields are one line of JSON."""
    buffer = io.BytesIO()
    buffer.write(json.dumps(fields).encode() + b"\n")
    for array in arrays:
        np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _unpack(message: bytes) -> tuple[Any, list[_Array]]:
    buffer = io.BytesIO(message)
    fields, arrays = json.loads(buffer.readline()), []
    while buffer.tell() < len(message):
        arrays.append(np.lib.format.read_array(buffer, allow_pickle=False))
    return fields, arrays


def _answer(runners: list[OnnxRunner], message: bytes) -> bytes:
    """Handle one request: load a model from the bytes in the only array, or run a loaded model by its number."""
    request, arrays = _unpack(message)
    limit_processor_seconds(_PROCESSOR_TIME * request["seconds"])
    try:
        if "providers" in request:
            runner = OnnxRunner(arrays[0].tobytes(), providers=request["providers"], optimized=request["optimized"])
            runners.append(runner)
            described = {name: getattr(runner, name) for name in ("provider", "inputs", "outputs")}
            return _pack({"number": len(runners) - 1, **described})
        results = runners[request["number"]](dict(zip(request["names"], arrays, strict=True)))
        known = {name: array for name, array in results.items() if isinstance(array, np.ndarray)}
        return _pack({"arrays": list(known)}, list(known.values()))
    except Exception as error:  # noqa: BLE001 - this process can continue after any error
        return _pack({"error": str(error)})


if __name__ == "__main__":
    loaded: list[OnnxRunner] = []
    answer_requests(lambda message: _answer(loaded, message))
