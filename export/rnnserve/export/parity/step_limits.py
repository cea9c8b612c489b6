"""How far any one value of a single step, or of a given sample, may lie from eager's.

Rounding of eager itself, in layers as wide as the module has them, is added to a few ulps: its distance from float64.
In one run that may be small by luck, where the module amplifies rounding: exp(30 * score) has thirty times that of the
score. So where a value lies beyond, eager is run again on inputs moved by an ulp: what that does is what rounding does
to a module of this condition, in float64's eyes, and no more of it is allowed than of eager's own.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.parity.tolerances import ParityLimits
from rnnserve.protos.differences import coarseness, largest_difference, scale

__all__ = ["limit_of"]

_Array = npt.NDArray[Any]


def limit_of(
    limits: ParityLimits,
    kind: str,
    *,
    found: _Array,
    eager: _Array,
    exact: _Array,
    mask: npt.NDArray[np.bool_] | None,
    moved: Iterable[_Array],
) -> float:
    """Give the limit of one output of a batch; infinity where only the distance from float64 counts.

    Args:
        limits: Limits for the device.
        kind: Kind of the batch.
        found: ONNX's values, finite, of any shape.
        eager: Values of eager, likewise.
        exact: Values in float64.
        mask: Values that count, broadcast to that shape; None for all.
        moved: Eager's for inputs moved by an ulp, computed when asked for; values that are not finite do not count.
    """
    if kind not in ("step", "sample"):
        return np.inf
    base = (limits.step if kind == "step" else limits.sample) * coarseness(eager.dtype) * scale(exact)

    def rounding(values: _Array) -> float:
        distance = np.abs(values - exact)
        counts = np.isfinite(distance) if mask is None else np.isfinite(distance) & mask
        return float(np.where(counts, distance, 0).max(initial=0.0))

    limit = base + limits.sequence_rms_factor * rounding(eager)
    counted = (found, eager) if mask is None else (np.where(mask, found, 0), np.where(mask, eager, 0))
    if largest_difference(*counted).distance <= limit:
        return limit
    return base + limits.sequence_rms_factor * max([rounding(eager), *map(rounding, moved)])
