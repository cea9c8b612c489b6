"""The model of Triton's Python backend for sequences: one point per request, with the states in a dictionary."""

import json
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as backend  # type: ignore[import-not-found]  # Triton puts it on the path


class TritonPythonModel:
    """The class that Triton's Python backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX model that the config names."""
        path = json.loads(args["model_config"])["parameters"]["onnx"]["string_value"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        hidden = next(node for node in self._session.get_inputs() if node.name == "h_0").shape[2]
        self._zeros = np.zeros((1, hidden), np.float32)  # (layers, hidden)
        self._states: dict[int, Any] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Respond to a batch of requests of different sequences, whose inputs are (1, 1, features) float32.

        Each response has the logits (1, 2), and as h_n the states (1, layers, hidden), float32.
        """
        points = np.concatenate([backend.get_input_tensor_by_name(r, "input").as_numpy() for r in requests])
        starts = [_control(request, "START") for request in requests]
        ids = [_control(request, "CORRID") for request in requests]
        before = [
            self._zeros if start else self._states.get(identity, self._zeros)
            for start, identity in zip(starts, ids, strict=True)
        ]
        feeds = {"input": points, "lengths": np.ones(len(points), np.int64), "h_0": np.stack(before, axis=1)}
        logits, states = self._session.run(["logits", "h_n"], feeds)
        for row, (request, identity) in enumerate(zip(requests, ids, strict=True)):
            if _control(request, "END"):
                self._states.pop(identity, None)
            else:
                self._states[identity] = states[:, row]
        by_row = np.ascontiguousarray(states.swapaxes(0, 1))  # (batch, layers, hidden)
        return [
            backend.InferenceResponse(
                [backend.Tensor("logits", logits[row : row + 1]), backend.Tensor("h_n", by_row[row : row + 1])]
            )
            for row in range(len(requests))
        ]


def _control(request: Any, name: str) -> int:  # noqa: ANN401 - Triton's own
    return int(backend.get_input_tensor_by_name(request, name).as_numpy().ravel()[0])
