"""The model of Triton's Python backend, for a copy in Triton's repository: one onnxruntime call for a batch.

If `allow_ragged_batch` lets Triton batch requests with sequences of different lengths, the model pads them to the
longest.
"""

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
        # name, num_layers, hidden: h_0, and c_0 of an LSTM
        self._states = [(n.name, n.shape[0], n.shape[2]) for n in self._session.get_inputs() if n.name.endswith("_0")]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Respond to a batch of requests, whose inputs are (rows, sequence, features) float32."""
        inputs = [backend.get_input_tensor_by_name(request, "input").as_numpy() for request in requests]
        rows = [len(input) for input in inputs]
        # (batch,) int64: the number of points of each row
        lengths = np.repeat([input.shape[1] for input in inputs], rows).astype(np.int64)
        if len(inputs) == 1:
            joined = inputs[0]
        elif lengths.min() == lengths.max():
            joined = np.concatenate(inputs)
        else:
            joined = np.zeros((len(lengths), lengths.max(), inputs[0].shape[2]), np.float32)
            start = 0
            for input in inputs:
                joined[start : start + len(input), : input.shape[1]] = input
                start += len(input)
        zeros = {name: np.zeros((layers, len(joined), hidden), np.float32) for name, layers, hidden in self._states}
        logits = self._session.run(["logits"], {"input": joined, "lengths": lengths, **zeros})[0]
        ends = np.cumsum(rows)
        return [
            backend.InferenceResponse([backend.Tensor("logits", logits[end - count : end])])
            for end, count in zip(ends, rows, strict=True)
        ]
