"""The model of the peers, as in tutorials on serving: one onnxruntime call for a batch.

It also runs in the environments of the servers that speak HTTP, and needs only numpy and onnxruntime.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

MAX_BATCH = 32
"""Maximum number of requests in an inference call: the benchmark's number of requests in flight."""


class WalkModel:
    """A session with the settings of all measured servers: one thread for an inference call."""

    def __init__(self, path: str) -> None:
        """Load model.onnx."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        # name, num_layers, hidden: h_0, and c_0 of an LSTM; empty if the model doesn't take states
        self._states = [(n.name, n.shape[0], n.shape[2]) for n in self._session.get_inputs() if n.name.endswith("_0")]

    def run(self, input: Any, lengths: Any = None) -> Any:  # noqa: ANN401 - numpy's arrays, without its annotations in other environments
        """Return the logits (batch, classes) of walks (batch, sequence, features) float32 with these lengths."""
        batch, sequence = input.shape[:2]
        zeros = {name: np.zeros((layers, batch, hidden), np.float32) for name, layers, hidden in self._states}
        whole = np.full(batch, sequence, np.int64)
        feeds = {"input": input, "lengths": whole if lengths is None else lengths, **zeros}
        return self._session.run(["logits"], feeds)[0]

    def run_all(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the logits of requests, each (batch 1, sequence, features), from one inference call."""
        logits = self.run(np.concatenate(inputs))
        return [logits[at : at + 1] for at in range(len(inputs))]
