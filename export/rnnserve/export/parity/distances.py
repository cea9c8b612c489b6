"""How far apart results are, gathered over many batches of one kind and length."""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.parity.tolerances import LARGE_SUMS, UNDECIDED, ParityLimits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import scale

__all__ = ["DistanceRow", "Distances", "Spread"]

Array = npt.NDArray[Any]


@dataclasses.dataclass
class Spread:
    """Largest value and root mean square of differences that come in batches, in the unit of the tensor."""

    largest: float = 0.0
    squares: float = 0.0
    count: int = 0

    @classmethod
    def between(cls, found: Array, expected: Array, mask: Array | None = None) -> "Spread":
        """Measure the differences of one batch, in float64.

        Args:
            found: Floats of any shape.
            expected: Floats of the same shape.
            mask: Values that count, broadcast to that shape; None for all.
        """
        count = _count(mask, expected)
        if not count:
            return cls()
        differences = np.asarray(_masked(np.subtract(found, expected, dtype=np.float64), mask))
        largest = max(float(differences.max()), -float(differences.min()))
        return cls(largest, float(np.square(differences, out=differences).sum()), count)

    def add(self, other: "Spread") -> None:
        """Take in what was measured of another batch."""
        self.largest = max(self.largest, other.largest)
        self.squares += other.squares
        self.count += other.count

    @property
    def rms(self) -> float:
        """Root mean square of everything that was taken in; 0 of nothing."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


@dataclasses.dataclass
class DistanceRow:
    """The distances of one kind of input, one tensor and one length.

    Attributes:
        found_eager: Distance of the found values from eager's.
        eager_exact: Distance of eager's values from those in float64.
        found_exact: Distance of the found values from those in float64.
        moved_exact: Distance of eager's values from those in float64, when eager's inputs are moved by an ulp.
        scale: Factor by which limits grow, see `rnnserve.protos.differences.scale`.
    """

    found_eager: Spread = dataclasses.field(default_factory=Spread)
    eager_exact: Spread = dataclasses.field(default_factory=Spread)
    found_exact: Spread = dataclasses.field(default_factory=Spread)
    moved_exact: Spread = dataclasses.field(default_factory=Spread)
    scale: float = 1.0

    @property
    def rounding(self) -> Spread:
        """How far rounding takes eager from float64: over several runs where there were several, else over one."""
        return self.moved_exact if self.moved_exact.count else self.eager_exact

    @property
    def is_unmoved(self) -> bool:
        """Whether moved inputs have changed nothing, as of ids."""
        return self.moved_exact.largest == self.eager_exact.largest and self.moved_exact.rms == self.eager_exact.rms

    def allowed(self, limits: ParityLimits) -> float:
        """Give the root mean square distance from float64 that the found values may have."""
        return limits.sequence_rms_factor * self.rounding.rms + limits.sequence_rms_floor * self.scale

    def failure(self, limits: ParityLimits) -> str | None:
        """Judge the distance from float64 by eager's own.

        Returns:
            What is wrong with it, in words; None if nothing is.
        """
        found, eager, allowed = self.found_exact.rms, self.rounding.rms, self.allowed(limits)
        if found <= allowed:  # False for NaN
            return None
        return (
            f"found {found:.3g} from float64 (root mean square), expected about eager's {eager:.3g}: "
            f"{allowed:.3g} allowed"
        )


class Distances:
    """Distances between found values, eager's and float64's, by kind of input, tensor and length.

    Attributes:
        rows: Distances by kind, name of the tensor and length of the sequence axis.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], DistanceRow] = {}

    def add(
        self, kind: str, name: str, length: int, *, found: Array, eager: Array, exact: Array, mask: Array | None = None
    ) -> None:
        """Take in one tensor of a batch.

        Args:
            kind: Kind of input: "step", "random" or "sample", or another that the caller chooses.
            name: Name of the tensor.
            length: The size of the first sequence axis.
            found: Floats as computed by what is judged.
            eager: Eager's floats, of the same shape.
            exact: Values of the same shape, in float64.
            mask: Values that count, broadcast to that shape; None for all.
        """
        if not _count(mask, exact):
            return
        self.add_near(kind, name, length, Spread.between(found, eager, mask))
        self.add_exact(kind, name, length, found=found, eager=eager, exact=exact, mask=mask)

    def add_near(self, kind: str, name: str, length: int, found_eager: Spread) -> None:
        """Take in one tensor of a batch of which float64 is not computed: its distance from eager.

        Args:
            kind: Kind of input, as for `add`.
            name: Name of the tensor, as for `add`.
            length: Length of the sequence axis, as for `add`.
            found_eager: Distance of the found values from eager's.
        """
        if found_eager.count:
            self.rows.setdefault((kind, name, length), DistanceRow()).found_eager.add(found_eager)

    def add_exact(
        self, kind: str, name: str, length: int, *, found: Array, eager: Array, exact: Array, mask: Array | None = None
    ) -> None:
        """Take in the distances from float64 of a tensor of which `add_near` has that from eager.

        Args:
            kind: Kind of input, as for `add`.
            name: Name of the tensor, as for `add`.
            length: Length of the sequence axis, as for `add`.
            found: Floats as computed by what is judged.
            eager: Eager's floats, of the same shape.
            exact: Values of the same shape, in float64.
            mask: Values that count, as for `add`.
        """
        if not _count(mask, exact):
            return
        row = self.rows[kind, name, length]
        row.eager_exact.add(Spread.between(eager, exact, mask))
        row.found_exact.add(Spread.between(found, exact, mask))
        row.scale = max(row.scale, scale(_masked(exact, mask)) * LARGE_SUMS.get(kind, 1.0))

    def add_moved(
        self, kind: str, name: str, length: int, *, moved: Array, exact: Array, mask: Array | None = None
    ) -> None:
        """Take in eager's values for inputs moved by an ulp, after `add` took the batch in.

        Args:
            kind: Kind of input, as for `add`.
            name: Name of the tensor, as for `add`.
            length: Length of the sequence axis, as for `add`.
            moved: Eager's values; floats.
            exact: Float64's values of the same shape, for the inputs that were not moved.
            mask: Values that count, as for `add`.
        """
        self.rows[kind, name, length].moved_exact.add(Spread.between(moved, exact, mask))

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
            if kinds is None or kind in kinds
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


def _masked(values: Array, mask: Array | None) -> Array:
    return values if mask is None else np.where(mask, values, 0)


def _count(mask: Array | None, values: Array) -> int:
    return values.size if mask is None else int(np.broadcast_to(mask, values.shape).sum())
