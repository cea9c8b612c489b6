"""The model of the peers, as tutorials on serving have it: one onnxruntime run for a batch.

It also runs in the environments of the servers that speak HTTP, and needs numpy and onnxruntime only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

MAX_BATCH = 32
"""Requests that share a run: as many as the benchmark has in flight."""


class WalkModel:
    """A session with the settings of all measured servers: one thread for a run."""

    def __init__(self, path: str) -> None:
        """Load model.onnx."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        # name, num_layers, hidden: h_0, and of an LSTM c_0; none of a model that does not take states
        self._states = [(n.name, n.shape[0], n.shape[2]) for n in self._session.get_inputs() if n.name.endswith("_0")]

    def run(self, input: Any, lengths: Any = None) -> Any:  # noqa: ANN401 - numpy's arrays, without its annotations in other environments
        """Give the logits (batch, classes) of walks (batch, sequence, features), float32, each as long as it says."""
        batch, sequence = input.shape[:2]
        zeros = {name: np.zeros((layers, batch, hidden), np.float32) for name, layers, hidden in self._states}
        whole = np.full(batch, sequence, np.int64)
        feeds = {"input": input, "lengths": whole if lengths is None else lengths, **zeros}
        return self._session.run(["logits"], feeds)[0]

    def run_all(self, inputs: Sequence[Any]) -> list[Any]:
        """Give the logits of requests, each (batch 1, sequence, features), by one run."""
        logits = self.run(np.concatenate(inputs))
        return [logits[at : at + 1] for at in range(len(inputs))]
