"""Answers into classifications."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidAnswer
from rnnserve.client.tensors import Array

__all__ = ["Classification", "classifications"]


@dataclass(frozen=True, eq=False)
class Classification:
    """What the model says about one sequence.

    Attributes:
        label: The most probable class, by the model's label; its index as text where the server has no labels.
        index: The same class by its index in `logits`.
        probabilities: (classes,) float64, the softmax of `logits`.
        logits: (classes,), as the model gives them.
        model_version: The version that answered; empty where the server does not say.
        h_n: (layers * directions, hidden), the state behind the last point, to be carried on as `h_0`; None where
            states were not asked for or the model gives none.
        c_n: Likewise, of an LSTM; None for other cells.
        output: (length, directions * hidden), the last layer's output at every point; None where not asked for.
    """

    label: str
    index: int
    probabilities: npt.NDArray[np.float64]
    logits: npt.NDArray[Any]
    model_version: str
    h_n: npt.NDArray[Any] | None = None
    c_n: npt.NDArray[Any] | None = None
    output: npt.NDArray[Any] | None = None


def classifications(
    outputs: Mapping[str, Array],
    lengths: Sequence[int],
    *,
    wanted: Sequence[str],
    labels: Sequence[str] | None,
    model_version: str,
) -> list[Classification]:
    """Read one answer, a classification for each of its rows.

    Args:
        outputs: `logits` (batch, classes); `h_n`, `c_n` (layers * directions, batch, hidden) and `output` (batch,
            sequence, directions * hidden) where wanted.
        lengths: Points of each row's sequence, in order.
        wanted: The outputs that were requested.
        labels: By class; None where there are none.
        model_version: The version that answered.

    Raises:
        InvalidAnswer: An output is missing or of another shape, or labels and classes differ in number.
    """
    logits = _take(outputs, wanted, "logits", (len(lengths), -1))
    if logits is None or not logits.shape[1]:
        raise InvalidAnswer("the answer has no logits, or no classes in them")
    if labels is not None and len(labels) != logits.shape[1]:
        raise InvalidAnswer(f"the model has {len(labels)} labels but answered {logits.shape[1]} classes")
    h_n = _take(outputs, wanted, "h_n", (-1, len(lengths), -1))
    c_n = _take(outputs, wanted, "c_n", (-1, len(lengths), -1))
    output = _take(outputs, wanted, "output", (len(lengths), max(lengths), -1))
    probabilities = _softmax(logits)
    indices = logits.argmax(axis=1)
    return [
        Classification(
            label=str(index) if labels is None else labels[index],
            index=index,
            probabilities=probabilities[row],
            logits=logits[row],
            model_version=model_version,
            # Copies, so that a state carried on for long does not keep its whole batch in memory.
            h_n=None if h_n is None else h_n[:, row].copy(),
            c_n=None if c_n is None else c_n[:, row].copy(),
            output=None if output is None else output[row, : lengths[row]].copy(),
        )
        for row, index in enumerate(indices.tolist())
    ]


def _take(outputs: Mapping[str, Array], wanted: Sequence[str], name: str, expected: tuple[int, ...]) -> Array | None:
    """Return an output where it was wanted, once its shape is as expected: -1 suits any size."""
    if name not in wanted:
        return None
    array = outputs.get(name)
    if array is None:
        raise InvalidAnswer(f"the answer lacks {name}, which was requested: it has {', '.join(outputs) or 'nothing'}")
    if array.dtype.kind != "f":
        raise InvalidAnswer(f"the answer's {name} has dtype {array.dtype}, expected floating-point numbers")
    fits = len(array.shape) == len(expected) and all(
        size in (found, -1) for size, found in zip(expected, array.shape, strict=True)
    )
    if not fits:
        raise InvalidAnswer(f"the answer's {name} has shape {array.shape}, expected {expected} (-1: any size)")
    return array


def _softmax(logits: Array) -> npt.NDArray[np.float64]:
    # Shifted by the largest, so that no exponential overflows.
    # Infinite logits become NaN, quietly.
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    probabilities: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
