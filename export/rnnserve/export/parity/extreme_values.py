"""What the world has besides usual values: silence, constants, loud and tiny numbers, ties, the ends of ranges.

Each kind changes drawn inputs. Floats stay within their described bounds, so that a description says what is not meant.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.tensors import Arrays, Tensors, axis_of, is_state
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["EXTREMES", "LOUD_BY_ROW", "Extreme"]

_Array = npt.NDArray[Any]

_EXACT = (1.0, 0.5, -1.0, 2.0, 0.25, -0.5, 4.0, -0.125)
"""Constants whose sums and means are exact, so that their deviation is zero in float32, too."""

_STATES = (0.0, 1.0, 30.0)
"""By row: zeros, as where a request leaves states out; what saturates gates; what saturates a cell."""


@dataclasses.dataclass(frozen=True)
class _Usual:
    """What a kind changes: drawn values, (batch, sequence, …) float64, and bounds of the input, if it has such."""

    values: _Array
    low: float | None
    high: float | None
    random: np.random.Generator

    def by_row(self, *values: float) -> _Array:
        """Give each row one of the values, in turn."""
        column = np.resize(values, len(self.values)).reshape(-1, *[1] * (self.values.ndim - 1))
        return np.broadcast_to(column, self.values.shape).copy()

    def either(self, some: float | _Array, others: float | _Array) -> _Array:
        """Choose by chance for each value."""
        return np.where(self.random.random(self.values.shape) < 0.5, some, others)


_Change = Callable[[_Usual], _Array]


@dataclasses.dataclass(frozen=True)
class Extreme:
    """A kind of values."""

    text: str  # what it has, for the record
    floats: _Change  # of normal values of a float input, (batch, sequence, …) or with the axes that it has
    integers: _Change | None = None  # of an integer input that has bounds; None where they stay as they are
    is_of_states: bool = False  # whether it changes the states instead
    needs_bounds: bool = False  # whether it is for inputs with described bounds only
    widens: bool = False  # whether it leaves the usual range, and so does nothing to floats with bounds

    def applies(self, inputs: Tensors) -> bool:
        """Whether some input is changed."""
        return any(self._change(tensor) is not None for tensor in inputs)

    def of(self, inputs: Tensors, arrays: Arrays, random: np.random.Generator) -> Arrays:
        """Change drawn inputs; further values are drawn from the generator."""
        changed = dict(arrays)
        for tensor in inputs:
            change = self._change(tensor)
            if change is None:
                continue
            array = arrays[tensor.name]
            at = axis_of(tensor, BATCH) or 0
            steps = next((n for n, axis in enumerate(tensor.axes) if axis.size == DYNAMIC and axis.name != BATCH), None)
            order = [at, *([] if steps is None else [steps])]
            # A tensor without a sequence axis gets one of one step, so that a kind sees (batch, sequence, …).
            moved = np.moveaxis(array, order, range(len(order)))
            moved = moved[:, None] if steps is None else moved
            low, high = _bounds(tensor)
            values = change(_Usual(moved.astype(np.float64), low, high, random))
            values = values if low is None else np.clip(values, low, high)
            values = values[:, 0] if steps is None else values
            made = np.ascontiguousarray(np.moveaxis(values, range(len(order)), order)).astype(array.dtype)
            # Integers beyond 2 ** 53 are rounded by floats.
            is_rounded = array.dtype.kind in "iu" and low is not None
            changed[tensor.name] = np.clip(made, low, high) if is_rounded else made
        return changed

    def _change(self, tensor: manifest_pb2.Tensor) -> _Change | None:
        if tensor.lengths_of:
            return None
        is_float = tensor.datatype.startswith("FP")
        if self.is_of_states or is_state(tensor):
            return self.floats if self.is_of_states and is_state(tensor) and is_float else None
        if is_float:
            is_bounded = tensor.HasField("floats")
            return None if (self.needs_bounds and not is_bounded) or (self.widens and is_bounded) else self.floats
        return self.integers if tensor.HasField("integers") or tensor.datatype == "BOOL" else None


def _bounds(tensor: manifest_pb2.Tensor) -> tuple[float | None, float | None]:
    if tensor.HasField("floats"):
        return tensor.floats.low, tensor.floats.high
    if tensor.HasField("integers"):
        return tensor.integers.low, tensor.integers.high - 1
    return (0, 1) if tensor.datatype == "BOOL" else (None, None)


def _zeros(usual: _Usual) -> _Array:
    return np.zeros_like(usual.values)


def _level(usual: _Usual) -> _Array:
    """Rows of one number, and rows whose steps are all alike."""
    alike = np.broadcast_to(usual.values[:, :1], usual.values.shape).copy()
    alike[::2] = alike[::2].reshape(len(alike[::2]), -1)[:, :1].reshape(-1, *[1] * (usual.values.ndim - 1))
    return alike


def _silence(usual: _Usual) -> _Array:
    """Loud steps, a run of zeros, and quiet steps; without a sequence, some numbers are zero."""
    values = usual.values.copy()
    steps = values.shape[1]
    if steps == 1:
        return usual.either(0, values)
    for row in values:
        start, end = sorted(usual.random.integers(0, steps, size=2))
        row[:start] *= 30
        row[start : end + 1] = 0
        row[end + 1 :] *= 1e-3
    return values


def _zero_runs(usual: _Usual) -> _Array:
    ones = dataclasses.replace(usual, values=np.ones_like(usual.values))
    return np.where(_silence(ones) == 0, 0, usual.values)


def _ends(usual: _Usual) -> _Array:
    if usual.low is None or usual.high is None:
        return usual.values
    ends = usual.either(usual.low, usual.high)
    ends[0], ends[-1] = usual.low, usual.high
    return ends


def _tied_integers(usual: _Usual) -> _Array:
    """Each row has two of the values that were drawn for it."""
    flat = usual.values.reshape(len(usual.values), -1)
    chosen = np.where(usual.random.random(flat.shape) < 0.5, flat[:, :1], flat[:, -1:])
    return chosen.reshape(usual.values.shape)


EXTREMES: Mapping[str, Extreme] = MappingProxyType(
    {
        "zeros": Extreme("zeros alone", _zeros, _zeros),
        "constant": Extreme(
            "rows of one number, exact in float32",
            lambda usual: usual.by_row(*_EXACT),
            lambda usual: usual.by_row(usual.low or 0, usual.high or 0),
        ),
        "level": Extreme("rows of any one number, and of steps that are alike", _level),
        "silence": Extreme("runs of zeros between loud and quiet steps", _silence, _zero_runs),
        "tiny": Extreme("about 1e-10, and denormal numbers", lambda usual: usual.values * usual.by_row(1e-10, 1e-40)),
        "loud": Extreme("30 times the usual values", lambda usual: usual.values * 30.0, widens=True),
        "louder": Extreme("1,000 times the usual values", lambda usual: usual.values * 1000.0, widens=True),
        "ends": Extreme("the lowest and the highest value that is described", _ends, _ends, needs_bounds=True),
        "ties": Extreme(
            "few different values, so that many are equal",
            lambda usual: np.clip(np.round(usual.values), -1, 1),
            _tied_integers,
        ),
        "states": Extreme(
            "states of zeros, of 1 and -1, and beyond",
            lambda usual: np.sign(usual.values) * usual.by_row(*_STATES),
            is_of_states=True,
        ),
    }
)
"""The kinds, by name, in the order in which they are drawn."""

LOUD_BY_ROW = Extreme(
    "30 and 300 times the usual values, by row", lambda usual: usual.values * usual.by_row(30.0, 300.0), widens=True
)
"""For rows that are long, too."""
