"""LitServe: FastAPI in front of a process that runs batches: `python -m benchmarks.peers.litserve_server PORT`.

The environment variable BENCH_MODEL is the path of the model.
"""

import os
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]  # in its own environment
import numpy as np

from benchmarks.peers.walk_model import MAX_BATCH, WalkModel


class _WalkApi(litserve.LitAPI):  # type: ignore[misc]  # of an unknown base
    """Takes {"input": (batch 1, sequence, features)}, and returns {"logits": (batch 1, classes)}."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        self._model = WalkModel(os.environ["BENCH_MODEL"])

    def decode_request(self, request: dict[str, Any]) -> Any:  # noqa: ANN401 - an array
        return np.asarray(request["input"], np.float32)

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: list[Any]) -> list[Any]:
        return self._model.run_all(inputs)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:  # noqa: ANN401 - an array
        return {"logits": output.tolist()}


if __name__ == "__main__":
    api = _WalkApi(max_batch_size=MAX_BATCH, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    print(f"HTTP on 127.0.0.1:{sys.argv[1]}", flush=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
