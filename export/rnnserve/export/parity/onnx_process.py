"""onnxruntime in a process of its own, for ONNX files of unknown origin: some of them end or block it."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy.typing as npt

from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow
from rnnserve.export.parity import onnx_worker
from rnnserve.export.parity.onnx_worker import pack, pack_arrays, unpack, unpack_arrays
from rnnserve.export.run_seconds import RUN_SECONDS

__all__ = ["RUN_SECONDS", "OnnxProcess", "RemoteSession"]

_START_SECONDS = 60.0


class OnnxProcess:
    """Runs the sessions of `RemoteSession`s. A context manager: after it the process has ended.

    Once a model has ended or blocked the process, whatever is asked of it raises the same error, without another wait.
    """

    def __init__(self, seconds: float) -> None:
        """Prepare; the process is started for the first model.

        Args:
            seconds: Seconds that loading a model may take, and each run.
        """
        self._seconds = seconds
        self._process: GuardedProcess | None = None
        self._fault = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()

    def ask(self, request: Mapping[str, Any], data: bytes) -> tuple[Any, bytes]:
        """Send a request to the process, and wait for its answer.

        Raises:
            RuntimeError: If onnxruntime raises an error, ends the process, or takes too long.
        """
        if self._fault:
            raise RuntimeError(self._fault)
        try:
            if self._process is None:
                self._process = GuardedProcess(onnx_worker.__file__)
                self._process.receive(_START_SECONDS)
            self._process.send(pack({**request, "seconds": self._seconds}, data), self._seconds)
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


class RemoteSession:
    """A session in an `OnnxProcess`, used as an `onnx_worker.Session` is."""

    def __init__(self, process: OnnxProcess, model: bytes, providers: Sequence[str], *, optimized: bool) -> None:
        """Load a model.

        Raises:
            RuntimeError: If onnxruntime does not take it, ends the process, or takes too long.
        """
        self._process = process
        answer, _ = process.ask({"load": {"providers": list(providers), "optimized": optimized}}, model)
        self._number: int = answer["number"]
        self.provider: str = answer["provider"]
        self.inputs: list[str] = answer["inputs"]
        self.outputs: list[str] = answer["outputs"]

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
        """Run the model; of outputs that are no arrays there is None.

        Raises:
            RuntimeError: If onnxruntime does not run it, ends the process, or takes too long.
        """
        request = {"run": {"number": self._number, "names": list(feeds)}}
        answer, data = self._process.ask(request, pack_arrays(list(feeds.values())))
        results: list[Any] = [None] * len(self.outputs)
        for at, array in zip(answer["arrays"], unpack_arrays(data, len(answer["arrays"])), strict=True):
            results[at] = array
        return results
