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

from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.protos.differences import scale

__all__ = ["MEASURED_ROWS", "is_near_eager"]

_Array = npt.NDArray[Any]

MEASURED_ROWS = 8
"""Rows of each kind and length that are compared with float64 in any case: the record says how far it is."""


def is_near_eager(limits: ParityLimits, found: _Array, eager: _Array, mask: npt.NDArray[np.bool_] | None) -> bool:
    """Whether values of whole sequences pass, whatever they are in float64.

    Args:
        limits: Limits for the device.
        found: Values of ONNX, any shape.
        eager: Values of eager, of the same shape and dtype.
        mask: Values that count, broadcast to that shape; None for all.
    """
    if mask is not None:
        found, eager = np.where(mask, found, 0), np.where(mask, eager, 0)
    if eager.dtype.kind != "f":
        return np.array_equal(found, eager)
    if not (np.isfinite(found).all() and np.isfinite(eager).all()) or limits.sequence_rms_factor < 1:
        return False
    count = eager.size if mask is None else int(np.broadcast_to(mask, eager.shape).sum())
    squares = float(np.square(found.astype(np.float64) - eager).sum())
    floor = limits.sequence_rms_floor * max(1.0, scale(eager) / 2)
    return squares <= count * floor**2
