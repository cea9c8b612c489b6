"""Inputs of tritonclient's two clients, and what their exceptions say."""

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.reporting import PLAN

__all__ = ["CLASSIFIER", "MODEL", "TEXT", "WAIT", "inputs", "long_walks", "refusal", "walk"]

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
WAIT = 20.0
"""Seconds."""


def inputs(array: np.ndarray, name: str = "input", datatype: str = "FP32") -> list[triton.InferInput]:
    """An input, as the list that `infer` takes."""
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return [tensor]


def walk(index: int = 0) -> tuple[list[triton.InferInput], np.ndarray]:
    """A walk as a batch of one row, and its logits (1, 2)."""
    return inputs(np.array([CLASSIFIER["walks"][index]], np.float32)), np.array([CLASSIFIER["logits"][index]])


def long_walks() -> np.ndarray:
    """Walks that take long to run: (batch, sequence, 2) float32."""
    return np.zeros((500, 4096, 2), np.float32)


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Status and message of a client's exception; None for others."""
    if isinstance(error, InferenceServerException) and error.status():
        return error.status().removeprefix("StatusCode."), error.message()
    return None
