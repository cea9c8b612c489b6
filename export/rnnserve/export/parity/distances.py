"""How far apart results are, gathered over many batches of one kind and length."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.limits import Limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.golden import scale

__all__ = ["Distances", "Row"]

Array = npt.NDArray[Any]

_CALM = 0.9


class _Spread:
    """Differences of many rows: the largest, and each row's mean square."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._squares: list[Array] = []
        self._counts: list[Array] = []

    def add(self, differences: Array, counts: Array) -> None:
        """Take a batch in: differences (batch, …), of which counts (batch,) mean something; the rest are zeros."""
        rows = differences.reshape(len(differences), -1)
        self.largest = max(self.largest, float(np.abs(rows).max()))
        self._squares.append(np.square(rows).sum(axis=1))
        self._counts.append(counts)

    @property
    def rms(self) -> float:
        """Root mean square over all rows."""
        return float(np.sqrt(np.concatenate(self._squares).sum() / np.concatenate(self._counts).sum()))

    @property
    def calm_rms(self) -> float:
        """Likewise over the nine tenths of the rows with the smallest differences."""
        squares, counts = np.concatenate(self._squares), np.concatenate(self._counts)
        kept = np.argsort(squares / counts)[: max(1, int(len(squares) * _CALM))]
        return float(np.sqrt(squares[kept].sum() / counts[kept].sum()))


@dataclasses.dataclass
class Row:
    """Of one kind of input, tensor and length."""

    found_eager: _Spread = dataclasses.field(default_factory=_Spread)
    eager_exact: _Spread = dataclasses.field(default_factory=_Spread)
    found_exact: _Spread = dataclasses.field(default_factory=_Spread)
    scale: float = 1.0

    def failures(self, limits: Limits) -> Iterator[str]:
        """Judge the distance from float64 by eager's own; yields what is wrong with it.

        Rounding is amplified by far the most in few rows, where one run may have luck and the other none: there, only
        the order of magnitude tells. Nine tenths of the rows tell more.
        """
        found, eager = self.found_exact, self.eager_exact
        yield from self._judge(
            "the calmer nine tenths", found.calm_rms, eager.calm_rms, limits.sequence_rms_factor, limits
        )
        yield from self._judge("all rows", found.rms, eager.rms, limits.sequence_tail_factor, limits)

    def _judge(self, rows: str, found: float, eager: float, factor: float, limits: Limits) -> Iterator[str]:

        allowed = factor * eager + limits.sequence_rms_floor * self.scale
        if not found <= allowed:  # NaN is not
            yield (
                f"found {found:.3g} from float64 (root mean square, {rows}), expected about eager's {eager:.3g}: "
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
        sequence = int(lengths.max())
        row = self.rows.setdefault((kind, name, sequence), Row())
        batch_axis = 1 if name.endswith("_n") else 0
        counts = np.full(len(lengths), exact.size // len(lengths))
        if name == "output":
            counts = lengths * exact.shape[2]
        for spread, one, other in (
            (row.found_eager, found, eager),
            (row.eager_exact, eager, exact),
            (row.found_exact, found, exact),
        ):
            spread.add(np.moveaxis(one.astype(np.float64) - other, batch_axis, 0), counts)
        row.scale = max(row.scale, scale(exact))

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
