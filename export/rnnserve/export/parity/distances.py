"""How far apart results are, gathered over many batches of one kind and length."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.protos import manifest_pb2
from rnnserve.protos.golden import scale

__all__ = ["Distances", "within_lengths"]

Array = npt.NDArray[Any]


@dataclasses.dataclass
class _Spread:
    """Largest and root mean square of differences that come in batches."""

    largest: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, differences: Array) -> None:
        self.largest = max(self.largest, float(np.abs(differences).max()))
        self.squares += float(np.square(differences).sum())
        self.count += differences.size

    @property
    def rms(self) -> float:
        return float(np.sqrt(self.squares / self.count))


@dataclasses.dataclass
class _Row:
    onnx_eager: _Spread = dataclasses.field(default_factory=_Spread)
    eager_exact: _Spread = dataclasses.field(default_factory=_Spread)
    onnx_exact: _Spread = dataclasses.field(default_factory=_Spread)
    scale: float = 1.0


class Distances:
    """Distances between ONNX, eager and float64, by kind of input, tensor and length."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], _Row] = {}

    def add(self, kind: str, name: str, length: int, onnx: Array, eager: Array, exact: Array) -> None:
        """Take a batch's values in: arrays of one shape, the last one float64."""
        row = self.rows.setdefault((kind, name, length), _Row())
        row.onnx_eager.add(onnx.astype(np.float64) - eager)
        row.eager_exact.add(eager - exact)
        row.onnx_exact.add(onnx - exact)
        row.scale = max(row.scale, scale(exact))

    def record(self) -> list[manifest_pb2.Distance]:
        """The manifest's rows, in the order in which they were first seen."""
        return [
            manifest_pb2.Distance(
                input=kind,
                tensor=name,
                length=length,
                onnx_from_eager_max=row.onnx_eager.largest,
                onnx_from_eager_rms=row.onnx_eager.rms,
                eager_from_float64_max=row.eager_exact.largest,
                eager_from_float64_rms=row.eager_exact.rms,
                onnx_from_float64_max=row.onnx_exact.largest,
                onnx_from_float64_rms=row.onnx_exact.rms,
            )
            for (kind, name, length), row in self.rows.items()
        ]


def within_lengths(name: str, array: Array, lengths: npt.NDArray[np.int64]) -> Array:
    """The values of a tensor that mean something: of `output` (batch, sequence, …), those before each row's length."""
    if name != "output":
        return array
    kept: Array = array[np.arange(array.shape[1]) < lengths[:, None]]
    return kept
