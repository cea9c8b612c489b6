"""Classifications, read from the tensors of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidAnswer
from rnnserve.client.tensors import Array

__all__ = ["Classification", "read_classifications"]


@dataclass(frozen=True, eq=False)
class Classification:
    """The model's result for one sequence.

    Attributes:
        label: Label of the most probable class; the class index as text if the server has no labels.
        index: Index of the same class in `logits`.
        probabilities: (classes,) float64, the softmax of `logits`.
        logits: (classes,), the model's dtype.
        model_version: The version that answered; empty if the server does not report it.
        h_n: (layers * directions, hidden), the model's dtype: the hidden state after the last point, to be passed as
            `h_0` of the next part; None if states were not requested or the model has no such output.
        c_n: (layers * directions, hidden), the model's dtype: the cell state of an LSTM; None for other cells.
        output: (length, directions * hidden), the model's dtype: the last layer's output at every point; None if it was
            not requested.
    """

    label: str
    index: int
    probabilities: npt.NDArray[np.float64]
    logits: npt.NDArray[Any]
    model_version: str
    h_n: npt.NDArray[Any] | None = None
    c_n: npt.NDArray[Any] | None = None
    output: npt.NDArray[Any] | None = None


def read_classifications(
    outputs: Mapping[str, Array],
    lengths: Sequence[int],
    *,
    requested: Sequence[str],
    labels: Sequence[str] | None,
    model_version: str,
) -> list[Classification]:
    """Return one classification for each row of an answer.

    Args:
        outputs: `logits` (batch, classes); if requested, `h_n` and `c_n` (layers * directions, batch, hidden) and
            `output` (batch, sequence, directions * hidden).
        lengths: Number of points of each row's sequence, in order.
        requested: Names of the outputs that were requested.
        labels: Label of each class; None if the model has no labels.
        model_version: The version that answered.

    Raises:
        InvalidAnswer: An output is missing or has another shape, or the numbers of labels and classes differ.
    """
    logits = _take(outputs, requested, "logits", (len(lengths), -1))
    if logits is None or not logits.shape[1]:
        raise InvalidAnswer("the answer has no logits, or its logits have no classes")
    if labels is not None and len(labels) != logits.shape[1]:
        raise InvalidAnswer(f"the model has {len(labels)} labels, but the answer has {logits.shape[1]} classes")
    h_n = _take(outputs, requested, "h_n", (-1, len(lengths), -1))
    c_n = _take(outputs, requested, "c_n", (-1, len(lengths), -1))
    output = _take(outputs, requested, "output", (len(lengths), max(lengths), -1))
    probabilities = _softmax(logits)
    indices = logits.argmax(axis=1)
    return [
        Classification(
            label=str(index) if labels is None else labels[index],
            index=index,
            probabilities=probabilities[row],
            logits=logits[row],
            model_version=model_version,
            # Copies: a state that is kept for long must not keep its whole batch in memory.
            h_n=None if h_n is None else h_n[:, row].copy(),
            c_n=None if c_n is None else c_n[:, row].copy(),
            output=None if output is None else output[row, : lengths[row]].copy(),
        )
        for row, index in enumerate(indices.tolist())
    ]


def _take(outputs: Mapping[str, Array], requested: Sequence[str], name: str, expected: tuple[int, ...]) -> Array | None:
    """Return an output if it was requested, after a check of its shape; -1 in `expected` matches any size."""
    if name not in requested:
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
    """Return probabilities (batch, classes) for logits (batch, classes)."""
    # Subtract the maximum, so that no exponential overflows. Infinite logits become NaN, without a warning.
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    probabilities: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
