"""Labels, the largest value of a row: those of float64, where rounding cannot change them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.parity.distances import DistanceRow
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.tolerances import ParityLimits

__all__ = ["Labelled", "judge_labels", "rows_of"]

_Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Values of the output that has the classes on its last axis.

    Attributes:
        name: The output.
        batch: The inputs.
        found: ONNX's, (rows, classes), of the rows that count.
        eager: Eager's, likewise.
        exact: Float64's, likewise.
    """

    name: str
    batch: InputBatch
    found: _Array
    eager: _Array
    exact: _Array


def judge_labels(
    labelled: Labelled,
    rows: Mapping[tuple[str, str, int], DistanceRow],
    limits: ParityLimits,
    failures: FailureCollector,
) -> None:
    """Check that labels are those of float64, in rows where rounding cannot change them.

    Rounding can change a label where float64's two largest values differ by less than twice eager's errors.

    Args:
        labelled: Values of a batch.
        rows: Distances from float64, by kind, name and length.
        limits: Limits for the device.
        failures: Collector to which wrong labels are added.
    """
    batch, exact = labelled.batch, labelled.exact
    if exact.shape[1] == 1:
        return
    row = rows.get((batch.kind, labelled.name, batch.length))
    if row is None:  # no value was finite
        return
    rounding = limits.sequence_rms_factor * row.rounding.largest + limits.step * row.scale
    two_largest = np.sort(exact, axis=1)[:, -2:]
    decided = two_largest[:, 1] - two_largest[:, 0] > 2 * rounding  # (rows,) bool
    for side, values in (("onnx", labelled.found), ("eager", labelled.eager)):
        wrong = np.flatnonzero(decided & (values.argmax(axis=1) != exact.argmax(axis=1)))
        if wrong.size:
            at = int(wrong[0])
            failures.add_difference(
                f"{side}, labels",
                labelled.name,
                0.0,
                f'{side}, labels: row {at} of {batch}: "{labelled.name}" {values[at].tolist()} say class '
                f"{int(values[at].argmax())}, expected {int(exact[at].argmax())} as in float64",
            )


def rows_of(values: Sequence[_Array], mask: npt.NDArray[np.bool_] | None) -> list[_Array]:
    """Give arrays (…, classes) as (rows, classes), without the rows that do not count."""
    if mask is None:
        return [array.reshape(-1, array.shape[-1]) for array in values]
    counts = np.broadcast_to(mask, values[0].shape).all(axis=-1)
    return [array[counts] for array in values]
