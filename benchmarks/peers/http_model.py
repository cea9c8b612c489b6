"""The model of the servers that speak HTTP, as their tutorials have it: one onnxruntime run for a batch.

It runs in the environments of these servers, and needs numpy and onnxruntime only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

__all__ = ["MAX_BATCH", "WalkModel"]

MAX_BATCH = 32
"""Requests that share a run: as many as the benchmark has in flight."""


class WalkModel:
    """A session with the settings of all measured servers: one thread for a run."""

    def __init__(self, path: str) -> None:
        """Load model.onnx."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._hidden = next(node for node in self._session.get_inputs() if node.name == "h_0").shape[2]

    def run(self, input: Any) -> Any:  # noqa: ANN401 - numpy's arrays, without its annotations in other environments
        """Give the logits (batch, classes) of walks (batch, sequence, features), float32."""
        batch, sequence = input.shape[:2]
        feeds = {
            "input": input,
            "lengths": np.full(batch, sequence, np.int64),
            "h_0": np.zeros((1, batch, self._hidden), np.float32),
        }
        return self._session.run(["logits"], feeds)[0]

    def run_all(self, inputs: Sequence[Any]) -> list[Any]:
        """Give the logits of requests, each (batch 1, sequence, features), by one run."""
        logits = self.run(np.concatenate(inputs))
        return [logits[at : at + 1] for at in range(len(inputs))]
