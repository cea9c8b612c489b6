"""How far apart results are, gathered over many batches of one kind and length."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.limits import Limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import scale

__all__ = ["Distances", "Row", "Spread"]

Array = npt.NDArray[Any]


@dataclasses.dataclass
class Spread:
    """Largest and root mean square of differences that come in batches."""

    largest: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, differences: Array, count: int) -> None:
        """Take a batch in, of which `count` values mean something; the rest are zeros."""
        self.largest = max(self.largest, float(np.abs(differences).max()))
        self.squares += float(np.square(differences).sum())
        self.count += count

    @property
    def rms(self) -> float:
        """Root mean square of all that was taken in."""
        return float(np.sqrt(self.squares / self.count))


@dataclasses.dataclass
class Row:
    """Of one kind of input, tensor and length; `moved_exact` is eager's again, its inputs moved by an ulp."""

    found_eager: Spread = dataclasses.field(default_factory=Spread)
    eager_exact: Spread = dataclasses.field(default_factory=Spread)
    found_exact: Spread = dataclasses.field(default_factory=Spread)
    moved_exact: Spread = dataclasses.field(default_factory=Spread)
    scale: float = 1.0

    @property
    def rounding(self) -> Spread:
        """How far rounding takes eager: from float64, over as many runs as there were."""
        return self.moved_exact if self.moved_exact.count else self.eager_exact

    def failure(self, limits: Limits) -> str | None:
        """Judge the distance from float64 by eager's own; says what is wrong with it, if anything is."""
        found, eager = self.found_exact.rms, self.rounding.rms
        allowed = limits.sequence_rms_factor * eager + limits.sequence_rms_floor * self.scale
        if found <= allowed:  # NaN is not
            return None
        return (
            f"found {found:.3g} from float64 (root mean square), expected about eager's {eager:.3g}: "
            f"{allowed:.3g} allowed"
        )


class Distances:
    """Distances between what was found, eager and float64, by kind of input, tensor and length."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], Row] = {}

    def add(self, kind: str, name: str, lengths: Array, *, found: Array, eager: Array, exact: Array) -> None:
        """Take a batch of one tensor in: arrays of one shape, `exact` in float64.

        Of `output` (batch, sequence, …) only what lies before each row's length counts.
        """
        row = self.rows.setdefault((kind, name, int(lengths.max())), Row())
        count = _count(name, lengths, exact)
        row.found_eager.add(found.astype(np.float64) - eager, count)
        row.eager_exact.add(eager - exact, count)
        row.found_exact.add(found - exact, count)
        row.scale = max(row.scale, scale(exact))

    def add_moved(self, kind: str, name: str, lengths: Array, *, moved: Array, exact: Array) -> None:
        """Take in what eager gave from inputs moved by an ulp, where `add` took the batch before."""
        row = self.rows[kind, name, int(lengths.max())]
        row.moved_exact.add(moved - exact, _count(name, lengths, exact))

    def record(self) -> list[manifest_pb2.Distance]:
        """The manifest's rows, in the order in which they were first seen."""
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
        ]


def _count(name: str, lengths: Array, exact: Array) -> int:
    return int(lengths.sum()) * exact.shape[2] if name == "output" else exact.size
