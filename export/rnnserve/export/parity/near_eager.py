"""Values so near eager's that float64 cannot change the judgement of them, so that it need not be computed.

Whole sequences pass where their root mean square distance from float64 is at most `factor` times eager's, and a floor.
Where found values are within the floor of eager's, that follows from the triangle inequality, for any values in
float64: |found - exact| <= |found - eager| + |eager - exact|. Batches that pass so may be added to, or left out of,
those that are measured: where these pass, all together do.

The floor grows with the largest value in float64. Half of eager's largest one stands for it: where float64's were less
than that, eager would be so far from it that the multiple alone would do.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.parity.distances import Spread
from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.protos.differences import scale

__all__ = ["MEASURED_ROWS", "near_eager"]

_Array = npt.NDArray[Any]

MEASURED_ROWS = 8
"""Rows of each kind and length that are compared with float64 in any case: the record says how far it is."""


def near_eager(limits: ParityLimits, found: _Array, eager: _Array, mask: npt.NDArray[np.bool_] | None) -> Spread | None:
    """Tell whether values of whole sequences pass, whatever they are in float64.

    Args:
        limits: Limits for the device.
        found: Values of ONNX, any shape.
        eager: Values of eager, of the same shape and dtype.
        mask: Values that count, broadcast to that shape; None for all.

    Returns:
        How far they are from eager's where they pass, nothing for integers and booleans; None where they may not.
    """
    if eager.dtype.kind != "f":
        counted = (found, eager) if mask is None else (np.where(mask, found, 0), np.where(mask, eager, 0))
        return Spread() if np.array_equal(*counted) else None
    if limits.sequence_rms_factor < 1:
        return None
    with np.errstate(invalid="ignore", over="ignore"):  # where values are not finite, neither are the squares
        away = Spread.between(found, eager, mask)
    allowed = away.count * limits.sequence_rms_floor**2
    if away.squares <= allowed:  # the floor is no lower than that
        return away
    largest = scale(eager if mask is None else np.where(mask, eager, 0)) / 2
    return away if away.squares <= allowed * max(1.0, largest) ** 2 else None
