"""Checks of the answers of models whose labels are not known: every answer against a golden one.

The golden answer of a request is the one that its file of samples holds, or the first one that the server gave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnnserve.client import ModelMetadata, Prediction
from rnnserve.client.predictions import read_predictions
from rnnserve.client.row_inputs import RowInputs
from rnnserve.client.tensors import Array, read_outputs
from rnnserve.protos.differences import coarseness
from rnnserve.protos.inference_pb2 import ModelInferResponse

__all__ = ["TOLERANCE", "AnswerCheck", "AnswerChecker"]

TOLERANCE = 1e-3
"""Largest difference between floats of two answers that are near, as a part of the largest value, or of 1."""


@dataclass(frozen=True)
class AnswerCheck:
    """What is needed to check the answers to one request of a pool.

    Attributes:
        metadata: The model's metadata.
        rows: Sizes of the request's rows; without tensors.
        chosen: Indices of the request's rows.
        requested: Names of the requested outputs.
        is_exact: Whether later answers must have the bits of the first one.
        expected: The answers in the file of samples; None if the first answer is the golden one.
        key: The same for requests with the same content, which share a golden answer.
    """

    metadata: ModelMetadata
    rows: RowInputs
    chosen: Sequence[int]
    requested: Sequence[str]
    is_exact: bool
    expected: Sequence[Prediction] | None = None
    key: int = 0


class AnswerChecker:
    """Compares answers with golden ones, and keeps the first answer to each request.

    Args:
        checks: Checks of the requests that are checked, by index in the pool.
    """

    def __init__(self, checks: Mapping[int, AnswerCheck]) -> None:
        self._checks = checks
        self._golden: dict[int, Sequence[Prediction]] = {}
        self._known: dict[int, tuple[bytes, ...]] = {}

    def __contains__(self, item: int) -> bool:
        return item in self._checks

    def agrees(self, item: int, response: ModelInferResponse) -> bool | None:
        """Return whether an answer agrees with the golden one; None for the first answer if it becomes the golden one.

        Raises:
            InvalidAnswer: The answer lacks an output, or one has another shape than the metadata say.
        """
        raw = tuple(response.raw_output_contents)
        check = self._checks[item]
        if raw and raw == self._known.get(check.key):
            return True  # the same bytes as an answer that was right: the usual case, which must be fast
        predictions = read_predictions(
            check.metadata,
            read_outputs(response),
            check.rows,
            check.chosen,
            requested=check.requested,
            model_version=response.model_version,
        )
        golden = check.expected or self._golden.get(check.key)
        if golden is None:
            self._golden[check.key], self._known[check.key] = predictions, raw
            return None
        is_exact = check.is_exact and check.expected is None
        agrees = all(
            _agree(found[name], expected[name], is_exact=is_exact)
            for found, expected in zip(predictions, golden, strict=True)
            for name in check.requested
        )
        if agrees and check.key not in self._known:
            self._known[check.key] = raw
        return agrees


def _agree(found: Array, expected: Array, *, is_exact: bool) -> bool:
    if found.shape != expected.shape:
        return False
    if is_exact:
        return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
    if found.dtype.kind != "f" or expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    wide = expected.astype(np.float64)
    finite = np.abs(wide[np.isfinite(wide)])
    limit = TOLERANCE * max(1.0, float(finite.max(initial=0.0))) * coarseness(found.dtype)
    return bool(np.isclose(found.astype(np.float64), wide, rtol=0, atol=limit, equal_nan=True).all())
