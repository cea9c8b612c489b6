"""How far apart results are, gathered over many batches of one kind and length, and whether that is too far."""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.parity.tolerances import LARGE_SUMS, UNDECIDED, ParityLimits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import equally_non_finite, scale

__all__ = ["DistanceRow", "Distances", "Spread", "differing_places", "finite_values", "masked"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_] | None


@dataclasses.dataclass
class Spread:
    """Largest value and root mean square of differences that come in batches, in the unit of the tensor."""

    largest: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, found: Array, expected: Array, mask: Mask = None) -> None:
        """Add the differences of two arrays of floats of one shape, in float64, where the mask is true."""
        count = expected.size if mask is None else int(np.broadcast_to(mask, expected.shape).sum())
        if not count:
            return
        differences = np.asarray(masked(np.subtract(found, expected, dtype=np.float64), mask))
        self.largest = max(self.largest, float(differences.max()), -float(differences.min()))
        self.squares += float(np.square(differences, out=differences).sum())
        self.count += count

    @property
    def rms(self) -> float:
        """Root mean square of all differences; 0 if there are none."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


@dataclasses.dataclass
class DistanceRow:
    """The distances of one kind of input, one tensor and one length."""

    kind: str = ""  # of input, for the limits of large sums
    found_eager: Spread = dataclasses.field(default_factory=Spread)
    eager_exact: Spread = dataclasses.field(default_factory=Spread)  # exact: in float64
    found_exact: Spread = dataclasses.field(default_factory=Spread)
    moved_exact: Spread = dataclasses.field(default_factory=Spread)  # of eager, when its inputs are moved by an ulp
    scale: float = 1.0  # factor by which limits grow, see `rnnserve.protos.differences.scale`

    def add(self, *, found: Array, eager: Array, exact: Array, mask: Mask = None) -> None:
        """Add all distances of one batch, where the mask is true."""
        self.found_eager.add(found, eager, mask)
        self.measure(found, eager, exact, mask)

    def measure(self, found: Array, eager: Array, exact: Array, mask: Mask = None) -> None:
        """Add the distances from float64 of one batch, where the mask is true."""
        self.eager_exact.add(eager, exact, mask)
        self.found_exact.add(found, exact, mask)
        self.scale = max(self.scale, scale(masked(exact, mask)) * LARGE_SUMS.get(self.kind, 1.0))

    @property
    def rounding(self) -> Spread:
        """How far rounding takes eager from float64: over several runs if there were several, else over one."""
        return self.moved_exact if self.moved_exact.count else self.eager_exact

    @property
    def is_unmoved(self) -> bool:
        """Whether moved inputs have changed nothing, as of ids."""
        return self.moved_exact.largest == self.eager_exact.largest and self.moved_exact.rms == self.eager_exact.rms

    def is_near(self, limits: ParityLimits, largest_scale: float) -> bool:
        """Whether the values pass whatever float64 gives, so that it need not be computed.

        If found values are within the floor of eager's, that follows from the triangle inequality: |found - exact| <=
        |found - eager| + |eager - exact|. Half of eager's scale stands for float64's: if float64's were less than
        that, eager would be so far from it that the multiple alone would do.
        """
        floor = limits.sequence_rms_floor * max(1.0, largest_scale / 2)
        return limits.sequence_rms_factor >= 1 and self.found_eager.rms <= floor

    def allowed(self, limits: ParityLimits) -> float:
        """Give the root mean square distance from float64 that the found values may have."""
        return limits.sequence_rms_factor * self.rounding.rms + limits.sequence_rms_floor * self.scale

    def failure(self, limits: ParityLimits) -> str | None:
        """Judge the distance from float64 by eager's own; say what is wrong with it."""
        found, eager, allowed = self.found_exact.rms, self.rounding.rms, self.allowed(limits)
        if found <= allowed:  # False for NaN
            return None
        return (
            f"found {found:.3g} from float64 (root mean square), expected about eager's {eager:.3g}: "
            f"{allowed:.3g} allowed"
        )


class Distances:
    """Distances between found values, eager's and float64's, by kind of input, tensor and length."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], DistanceRow] = {}

    def row(self, kind: str, name: str, length: int) -> DistanceRow:
        """Give a row; an empty one the first time."""
        return self.rows.setdefault((kind, name, length), DistanceRow(kind))

    def record(self, kinds: Collection[str] | None = None) -> list[manifest_pb2.Distance]:
        """Give the manifest's rows, of some kinds or of all, in the order in which they first came."""
        return [
            manifest_pb2.Distance(
                input=kind,
                tensor=name,
                length=length,
                onnx_from_eager_max=row.found_eager.largest,
                onnx_from_eager_rms=row.found_eager.rms,
                eager_from_float64_max=row.eager_exact.largest,
                eager_from_float64_rms=row.eager_exact.rms,
                onnx_from_float64_max=row.found_exact.largest,
                onnx_from_float64_rms=row.found_exact.rms,
            )
            for (kind, name, length), row in self.rows.items()
            if row.found_eager.count and (kinds is None or kind in kinds)
        ]

    def amplified(self) -> list[str]:
        """Say where rounding alone moves eager itself far from float64: a sentence for each kind and tensor."""
        farthest: dict[tuple[str, str], tuple[float, int]] = {}
        for (kind, name, length), row in self.rows.items():
            distance = row.rounding.largest
            if distance > UNDECIDED * row.scale / LARGE_SUMS.get(kind, 1.0):
                farthest[kind, name] = max(farthest.get((kind, name), (0.0, 0)), (distance, length))
        return [
            f'{kind}: rounding alone moves "{name}" of the module itself by {distance:.2g} within {length:,} steps'
            for (kind, name), (distance, length) in farthest.items()
        ]


def masked(values: Array, mask: Mask) -> Array:
    """Give zeros where values do not count."""
    return values if mask is None else np.where(mask, values, 0)


def differing_places(found: Array, eager: Array, mask: Mask, where: object) -> str:
    """Compare the places and signs of NaN and infinity; say what differs.

    In a step in which a guarded recurrence gives NaN, all its values are NaN, also the few that eager computes from
    other gates; so a row and step that holds one in eager may hold more.
    """
    wrong: npt.NDArray[np.bool_] = np.isfinite(found) != np.isfinite(eager)
    with np.errstate(invalid="ignore"):
        wrong |= ~np.isfinite(eager) & ~equally_non_finite(found, eager)
    is_nan = np.asarray(np.isnan(eager))
    beside = np.asarray(is_nan.any(axis=-1, keepdims=True)) if eager.ndim > 1 else is_nan
    wrong = wrong & ~(beside & np.isnan(found))
    if mask is not None:
        wrong = wrong & mask
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"at {list(at)} of {where} is {found[at]:.9g} where eager gives {eager[at]:.9g}"


def finite_values(mask: Mask, *arrays: Array) -> tuple[Mask, list[Array]]:
    """Give a mask without the values that are not finite in one of the arrays, and the arrays with zeros there."""
    if all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays):
        return mask, list(arrays)
    finite = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    cleaned = [np.where(finite, array, 0).astype(array.dtype) for array in arrays]
    return finite if mask is None else finite & mask, cleaned
