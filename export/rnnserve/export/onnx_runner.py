"""ONNX models, ready to run on arrays by name, in this process or in one of their own, which some end or block.

The other process runs this file as a program, by its path. So it imports neither torch nor the rest of
`rnnserve.export`, which takes 3 s.
"""

import io
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow
from rnnserve.common.guarded_work import answer_requests, limit_processor_seconds

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PROVIDERS", "RUN_SECONDS", "OnnxProcess", "OnnxRunner"]

_Array = npt.NDArray[Any]

PROVIDERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
)
"""By device, as the table of limits names it: onnxruntime's providers. For CUDA, load its libraries first
(`onnxruntime.preload_dlls()`), unless they are on the linker's path."""

RUN_SECONDS = 60.0
"""Seconds to load a file of others, and for each run of it, unless `--timeout` says otherwise: it may run for ever."""

_START_SECONDS = 60.0

_PROCESSOR_TIME = 2
"""How many seconds of processor time a request may take for each on the clock: several threads may work for it."""


class OnnxProcess:
    """Runs the models of `OnnxRunner`s. A context manager: after it the process has ended.

    Loading a model may take so many seconds, and each run. Once a model has ended or blocked the process, every call
    raises the same error, without another wait.
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
        """Send a request to the process, and return its answer; RuntimeError if onnxruntime gives none."""
        if not self._fault:
            try:
                if self._process is None:
                    self._process = GuardedProcess(__file__)
                    self._process.receive(_START_SECONDS)
                self._process.send(_pack({**request, "seconds": self._seconds}, arrays), self._seconds)
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
    """Runs an ONNX model on one thread, so that the bits of a result do not depend on the machine's cores.

    A file of unknown origin runs in a process of its own. RuntimeError with onnxruntime's message is raised if it
    refuses the model or its inputs, or does not have the first of the providers.
    """

    def __init__(
        self,
        model: bytes,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        optimized: bool = True,
        process: OnnxProcess | None = None,
    ) -> None:
        """Load the bytes of an ONNX file; onnxruntime may rewrite its graph if it is `optimized`."""
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
        """Compute every output by name; in a process of its own, None for one that is no array.

        Inputs that the model does not have are left out.
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
    import onnxruntime  # takes 0.1 s, which `rnnserve export --help` need not wait for

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # callers report what it raises, and compare what its warnings are about
    # TF32 of the tensor cores keeps ten of a float32's twenty-three bits: no proof would hold. Servers do the same.
    of_each = [{"use_tf32": "0"} if name == "CUDAExecutionProvider" else {} for name in providers]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=list(providers), provider_options=of_each)
        session.disable_fallback()  # to the CPU, where a run fails on another provider
    except Exception as error:  # onnxruntime's errors have no other class in common
        raise RuntimeError(f"onnxruntime does not take the model: {_in_a_line(error)}") from error
    return session


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _pack(fields: Mapping[str, Any], arrays: Sequence[_Array] = ()) -> bytes:
    """Put fields, as JSON in one line, and arrays into a message."""
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
    """Load a model, the only array of a request with providers; or run the one with a number on arrays with names."""
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
    except Exception as error:  # noqa: BLE001 - whatever it is, this process can go on
        return _pack({"error": str(error)})


if __name__ == "__main__":
    loaded: list[OnnxRunner] = []
    answer_requests(lambda message: _answer(loaded, message))
