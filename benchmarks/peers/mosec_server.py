"""mosec: an HTTP gateway in Rust that hands batches to a Python worker: `python -m benchmarks.peers.mosec_server`.

The environment variable BENCH_MODEL is the path of the model. BENCH_FORM is the form of the requests, "json" or
"binary". mosec itself reads `--port` and `--address`.
"""

import os
from typing import Any

import numpy as np
from mosec import Server, Worker  # type: ignore[import-not-found]  # in its own environment

from benchmarks.peers.walk_model import MAX_BATCH, WalkModel

_POINT = 8
"""Bytes of a point: two float32."""


class _JsonWorker(Worker):  # type: ignore[misc]  # of an unknown base
    """Takes {"input": (batch 1, sequence, features)}, and returns {"logits": (batch 1, classes)}."""

    def __init__(self) -> None:
        self._model = WalkModel(os.environ["BENCH_MODEL"])

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inputs = [np.asarray(request["input"], np.float32) for request in data]
        return [{"logits": logits.tolist()} for logits in self._model.run_all(inputs)]


class _BinaryWorker(_JsonWorker):
    """Takes the bytes of one walk (sequence, features), and returns the bytes of its logits (classes)."""

    def deserialize(self, data: bytes) -> Any:  # noqa: ANN401 - mosec's
        return np.frombuffer(data, np.float32).reshape(1, len(data) // _POINT, 2)

    def serialize(self, data: Any) -> bytes:  # noqa: ANN401 - mosec's
        written: bytes = data.tobytes()
        return written

    def forward(self, data: list[Any]) -> list[Any]:
        return self._model.run_all(data)


if __name__ == "__main__":
    server = Server()
    worker = _BinaryWorker if os.environ["BENCH_FORM"] == "binary" else _JsonWorker
    server.append_worker(worker, num=1, max_batch_size=MAX_BATCH)
    server.run()
