"""Sessions of onnxruntime, and the process that runs them for `onnx_runner`: this file, run as a program.

It is run by its path, and imports neither torch nor the rest of `rnnserve.export`, which takes 3 s.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from rnnserve.common.guarded_work import answer_requests, limit_processor_seconds

__all__ = ["Session", "pack", "unpack"]

_Array = npt.NDArray[Any]

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
        """Run the model, and return its outputs in their order: arrays, or lists of them for sequences.

        Raises:
            RuntimeError: If onnxruntime refuses the inputs; with its message.
        """
        try:
            results: list[Any] = self._session.run(None, dict(feeds))
        except Exception as error:
            raise RuntimeError(f"onnxruntime does not run: {_in_a_line(error)}") from error
        return results


def pack(fields: Mapping[str, Any], arrays: Sequence[_Array] = ()) -> bytes:
    """Put fields, as JSON in one line, and arrays into a message."""
    buffer = io.BytesIO()
    buffer.write(json.dumps(fields).encode() + b"\n")
    for array in arrays:
        np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def unpack(message: bytes) -> tuple[Any, list[_Array]]:
    """Give the fields and the arrays that `pack` put into a message."""
    buffer = io.BytesIO(message)
    fields, arrays = json.loads(buffer.readline()), []
    while buffer.tell() < len(message):
        arrays.append(np.lib.format.read_array(buffer, allow_pickle=False))
    return fields, arrays


def _answer(sessions: list[Session], message: bytes) -> bytes:
    """Load a model, the only array of a request with providers; or run the one with a number on arrays with names."""
    request, arrays = unpack(message)
    limit_processor_seconds(_PROCESSOR_TIME * request["seconds"])
    try:
        if "providers" in request:
            session = Session(arrays[0].tobytes(), request["providers"], optimized=request["optimized"])
            sessions.append(session)
            described = {name: getattr(session, name) for name in ("provider", "inputs", "outputs")}
            return pack({"number": len(sessions) - 1, **described})
        results = sessions[request["number"]].run(dict(zip(request["names"], arrays, strict=True)))
        known = [at for at, result in enumerate(results) if isinstance(result, np.ndarray)]
        return pack({"arrays": known}, [results[at] for at in known])
    except Exception as error:  # noqa: BLE001 - whatever it is, this process can go on
        return pack({"error": str(error)})


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    loaded: list[Session] = []
    answer_requests(lambda message: _answer(loaded, message))
