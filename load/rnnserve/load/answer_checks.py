"""Checks answers against the outputs in a file, or against the first answer to the same request."""

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
"""Tolerance for floats of two answers, relative to the largest value or to 1."""


@dataclass(frozen=True)
class AnswerCheck:
    """How to check the answers to one request of a pool."""

    metadata: ModelMetadata
    rows: RowInputs  # sizes of the request's rows, without tensors
    chosen: Sequence[int]  # indices of the request's rows
    requested: Sequence[str]  # names of the requested outputs
    is_exact: bool  # whether later answers must equal the first one bit for bit
    expected: Sequence[Prediction] | None = None  # outputs from a file, or None if the first answer is the reference
    key: int = 0  # equal for requests with equal bytes, which share a reference answer


class AnswerChecker:
    """Checks the answers of one generator, and keeps the first answer to each request as the reference."""

    def __init__(self, checks: Mapping[int, AnswerCheck]) -> None:
        self._checks = checks
        self._first: dict[int, Sequence[Prediction]] = {}
        self._right: dict[int, tuple[bytes, ...]] = {}

    def __contains__(self, item: int) -> bool:
        return item in self._checks

    def count_wrong(self, item: int, response: ModelInferResponse) -> int | None:
        """Return the number of wrong rows in an answer, or None if the answer becomes the reference."""
        raw = tuple(response.raw_output_contents)
        check = self._checks[item]
        if raw and raw == self._right.get(check.key):
            return 0  # equal bytes: the usual case, which must be fast
        found = read_predictions(
            check.metadata,
            read_outputs(response),
            check.rows,
            check.chosen,
            requested=check.requested,
            model_version=response.model_version,
        )
        reference = check.expected or self._first.get(check.key)
        if reference is None:
            self._first[check.key], self._right[check.key] = found, raw
            return None
        is_exact = check.is_exact and check.expected is None
        wrong = sum(
            not all(_agree(row[name], other[name], is_exact=is_exact) for name in check.requested)
            for row, other in zip(found, reference, strict=True)
        )
        if not wrong:
            self._right.setdefault(check.key, raw)
        return wrong


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
