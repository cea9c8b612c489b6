"""BentoML: `bentoml serve benchmarks.peers.bentoml_service:WalkService`.

The environment variable BENCH_MODEL is the path of the model.
"""

import os

import bentoml  # type: ignore[import-not-found]  # in its own environment
import numpy as np

from benchmarks.peers.walk_model import MAX_BATCH, WalkModel


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class WalkService:
    """Takes {"input": (batch, sequence, features)}, and returns the logits (batch, classes)."""

    def __init__(self) -> None:
        """Load the model."""
        self._model = WalkModel(os.environ["BENCH_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)  # type: ignore[untyped-decorator]
    def predict(self, input: np.ndarray) -> np.ndarray:
        """Run a batch that BentoML has joined."""
        logits: np.ndarray = self._model.run(input.astype(np.float32))
        return logits
