"""Sessions of onnxruntime, and the process that runs them for `onnx_process`: this file, run as a program.

It is run by its path, and imports neither torch nor the rest of `rnnserve.export`, which takes 3 s.

A request is `pack`ed: {"load": …} with the bytes of a model, or {"run": …} with arrays. So is the answer: what was
asked for, or {"error": "what onnxruntime said"}.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from rnnserve.common.guarded_work import answer_requests, limit_processor_seconds

__all__ = ["ONNX_REFERENCE", "Session", "pack", "pack_arrays", "unpack", "unpack_arrays"]

_Array = npt.NDArray[Any]

ONNX_REFERENCE = "onnx.reference"
"""Stands for a provider: onnx's own reference in Python, which runs operators that are too old for onnxruntime."""

_PROCESSOR_TIME = 2
"""How many seconds of processor time a request may take for each on the clock: several threads may work for it."""


class Session:
    """A session on one thread, so that the bits of a result do not depend on the machine's cores.

    Attributes:
        provider: What onnxruntime runs it on.
        inputs: The names of the model's inputs.
        outputs: The names of its outputs.
    """

    def __init__(self, model: bytes, providers: Sequence[str], *, optimized: bool) -> None:
        """Load a model.

        Raises:
            RuntimeError: If onnxruntime refuses it; with its message.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # callers report what it raises, and compare what its warnings are about
        # TF32 of the tensor cores keeps ten of a float32's twenty-three bits: no proof would hold. Servers do the same.
        of_each = [{"use_tf32": "0"} if name == "CUDAExecutionProvider" else {} for name in providers]
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=list(providers), provider_options=of_each
            )
            self._session.disable_fallback()  # to the CPU, where a run fails on another provider
        except Exception as error:  # onnxruntime's errors have no other class in common
            raise RuntimeError(f"onnxruntime does not take the model: {_in_a_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, _Array]) -> list[Any]:
        """Run the model.

        Returns:
            The outputs, in their order: arrays, or lists of them for sequences.

        Raises:
            RuntimeError: If onnxruntime refuses the inputs; with its message.
        """
        try:
            results: list[Any] = self._session.run(None, dict(feeds))
        except Exception as error:
            raise RuntimeError(f"onnxruntime does not run: {_in_a_line(error)}") from error
        return results


class _Reference:
    """onnx's reference, used as a `Session` is."""

    provider = ONNX_REFERENCE

    def __init__(self, model: bytes) -> None:
        """Load a model.

        Raises:
            RuntimeError: If it has operators that the reference does not have.
        """
        from onnx.reference import ReferenceEvaluator  # few files need it

        try:
            self._evaluator = ReferenceEvaluator(model)
        except Exception as error:
            raise RuntimeError(f"onnx's reference does not take the model: {_in_a_line(error)}") from error
        self.inputs: list[str] = list(self._evaluator.input_names)
        self.outputs: list[str] = list(self._evaluator.output_names)

    def run(self, feeds: Mapping[str, _Array]) -> list[Any]:
        """Run the model.

        Raises:
            RuntimeError: If the reference refuses the inputs; with its message.
        """
        try:
            results = list(self._evaluator.run(None, dict(feeds)))
        except Exception as error:
            raise RuntimeError(f"onnx's reference does not run: {_in_a_line(error)}") from error
        return results


def pack(fields: Mapping[str, Any], data: bytes = b"") -> bytes:
    """Put fields, as JSON in one line, before bytes."""
    return json.dumps(fields).encode() + b"\n" + data


def unpack(message: bytes) -> tuple[Any, bytes]:
    """Give the fields and the bytes of what `pack` made."""
    fields, _, data = message.partition(b"\n")
    return json.loads(fields), data


def pack_arrays(arrays: Sequence[_Array]) -> bytes:
    """Put arrays into bytes, in their order."""
    buffer = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def unpack_arrays(data: bytes, count: int) -> list[_Array]:
    """Give the arrays that `pack_arrays` put into bytes."""
    buffer = io.BytesIO(data)
    return [np.lib.format.read_array(buffer, allow_pickle=False) for _ in range(count)]


class _Worker:
    """Answers requests."""

    def __init__(self) -> None:
        self._sessions: list[Session | _Reference] = []

    def answer(self, message: bytes) -> bytes:
        request, data = unpack(message)
        limit_processor_seconds(_PROCESSOR_TIME * request["seconds"])
        try:
            return self._load(request["load"], data) if "load" in request else self._run(request["run"], data)
        except Exception as error:  # noqa: BLE001 - whatever it is, this process can go on
            return pack({"error": str(error)})

    def _load(self, how: Mapping[str, Any], data: bytes) -> bytes:
        is_reference = how["providers"] == [ONNX_REFERENCE]
        session = _Reference(data) if is_reference else Session(data, how["providers"], optimized=how["optimized"])
        self._sessions.append(session)
        described = {name: getattr(session, name) for name in ("provider", "inputs", "outputs")}
        return pack({"number": len(self._sessions) - 1, **described})

    def _run(self, what: Mapping[str, Any], data: bytes) -> bytes:
        feeds = dict(zip(what["names"], unpack_arrays(data, len(what["names"])), strict=True))
        results = self._sessions[what["number"]].run(feeds)
        arrays = [at for at, result in enumerate(results) if isinstance(result, np.ndarray)]
        return pack({"arrays": arrays}, pack_arrays([results[at] for at in arrays]))


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    answer_requests(_Worker().answer)
