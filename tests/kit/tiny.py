"""One way to publish "some model" without torch: a small ONNX graph made by hand, for tests that need just any."""

from pathlib import Path
from typing import Any

import numpy as np

from kit.artifacts import build_model, publish_model, tensor
from kit.example_models import node

__all__ = ["FACTOR", "publish_tiny"]

FACTOR = 2.0


def publish_tiny(repository: Path, name: str = "tiny", *, factor: float = FACTOR, **changes: Any) -> Path:
    """Publish a model that multiplies its input "x" (batch, sequence) by a factor, as output "y".

    Args:
        repository: The folder of all models.
        name: The model's name.
        factor: What it multiplies by.
        changes: Other arguments of `kit.artifacts.publish_model`: a graph or tensors of its own, `samples` for golden
            tests, `batching`, `version`.

    Returns:
        The folder of the version.
    """
    tensors = [tensor("x", "FP32", "batch", "sequence")], [tensor("y", "FP32", "batch", "sequence")]
    inputs, outputs = changes.pop("inputs", tensors[0]), changes.pop("outputs", tensors[1])
    model = changes.pop("model", None) or build_model(
        [node("Mul", "x factor", "y")], inputs, outputs, {"factor": np.array([factor], np.float32)}
    )
    samples = changes.pop("samples", [{"x": np.ones((batch, 3), np.float32)} for batch in (1, 2)])
    return publish_model(repository, name, model, inputs, outputs, samples, **changes)
