"""What the world has besides usual values: silence, constants, loud and tiny numbers, ties, the ends of ranges.

Each kind changes drawn inputs. Floats stay within their described bounds, so that a description says what is not meant.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.input_drawing import is_state
from rnnserve.export.module_interface import Arrays
from rnnserve.export.tensor_shapes import Tensors, axis_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["EXTREMES", "LOUD_BY_ROW", "Extreme"]

_Array = npt.NDArray[Any]
_Change = Callable[["_Usual"], _Array]

_EXACT = np.array([1.0, 0.5, -1.0, 2.0, 0.25, -0.5, 4.0, -0.125])
"""Constants whose sums and means are exact, so that their deviation is zero in float32, too."""

_STATES = np.array([0.0, 1.0, 30.0])
"""By row: zeros, as where a request leaves states out; what saturates gates; what saturates a cell."""


_LOUD = np.array([30.0, 300.0])
"""By row: how many times the usual values."""


@dataclasses.dataclass(frozen=True)
class _Range:
    """The smallest and the largest value that an input takes, where they are known."""

    low: float | None = None
    high: float | None = None

    def clip(self, values: _Array) -> _Array:
        return values if self.low is None else np.clip(values, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class _Usual:
    """What a kind changes.

    Attributes:
        values: Drawn, (batch, sequence, …) float64.
        bounds: Bounds of the input.
        random: Generator from which further values are drawn.
    """

    values: _Array
    bounds: _Range
    random: np.random.Generator


@dataclasses.dataclass(frozen=True)
class Extreme:
    """A kind of values.

    Attributes:
        text: What it has, for the record.
        floats: Changes normal values of a float input, (batch, sequence, …) or with the axes that it has.
        integers: Function for an integer input that has bounds; None where they stay as they are.
        is_of_states: Whether it changes the states instead.
        needs_bounds: Whether it is for inputs with described bounds only.
        widens: Whether it leaves the usual range, and so does nothing to floats with bounds.
    """

    text: str
    floats: _Change
    integers: _Change | None = None
    is_of_states: bool = False
    needs_bounds: bool = False
    widens: bool = False

    def applies(self, inputs: Tensors) -> bool:
        """Whether some input is changed."""
        return any(self._change(tensor) is not None for tensor in inputs)

    def of(self, inputs: Tensors, arrays: Arrays, random: np.random.Generator) -> Arrays:
        """Change drawn inputs.

        Args:
            inputs: Inputs, described.
            arrays: Drawn, by name.
            random: Generator from which further values are drawn.
        """
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
            bounds = _range_of(tensor)
            values = bounds.clip(change(_Usual(moved.astype(np.float64), bounds, random)))
            values = values[:, 0] if steps is None else values
            made = np.ascontiguousarray(np.moveaxis(values, range(len(order)), order)).astype(array.dtype)
            # Integers beyond 2 ** 53 are rounded by floats.
            changed[tensor.name] = bounds.clip(made) if array.dtype.kind in "iu" else made
        return changed

    def _change(self, tensor: manifest_pb2.Tensor) -> _Change | None:
        if tensor.lengths_of:
            return None
        if is_state(tensor):
            return self.floats if self.is_of_states and tensor.datatype.startswith("FP") else None
        if self.is_of_states:
            return None
        if tensor.datatype.startswith("FP"):
            is_bounded = tensor.HasField("floats")
            return None if (self.needs_bounds and not is_bounded) or (self.widens and is_bounded) else self.floats
        if tensor.HasField("integers") or tensor.datatype == "BOOL":
            return self.integers
        return None


def _range_of(tensor: manifest_pb2.Tensor) -> _Range:
    if tensor.HasField("floats"):
        return _Range(tensor.floats.low, tensor.floats.high)
    if tensor.HasField("integers"):
        return _Range(tensor.integers.low, tensor.integers.high - 1)
    return _Range(0, 1) if tensor.datatype == "BOOL" else _Range()


def _by_row(values: _Array, like: _Array) -> _Array:
    """Give each row one of the values, in turn."""
    column = np.resize(values, len(like)).reshape(-1, *[1] * (like.ndim - 1))
    return np.broadcast_to(column, like.shape).copy()


def _zeros(usual: _Usual) -> _Array:
    return np.zeros_like(usual.values)


def _constant(usual: _Usual) -> _Array:
    return _by_row(_EXACT, usual.values)


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
        return np.where(usual.random.random(values.shape) < 0.5, 0, values)
    for row in values:
        start, end = sorted(usual.random.integers(0, steps, size=2))
        row[:start] *= 30
        row[start : end + 1] = 0
        row[end + 1 :] *= 1e-3
    return values


def _tiny(usual: _Usual) -> _Array:
    """Rows of 1e-10, and of denormal numbers of float32."""
    return usual.values * _by_row(np.array([1e-10, 1e-40]), usual.values)


def _ends(usual: _Usual) -> _Array:
    if usual.bounds.low is None or usual.bounds.high is None:
        return usual.values
    ends = np.where(usual.random.random(usual.values.shape) < 0.5, usual.bounds.low, usual.bounds.high)
    ends[0], ends[-1] = usual.bounds.low, usual.bounds.high
    return ends


def _ties(usual: _Usual) -> _Array:
    return np.clip(np.round(usual.values), -1, 1)


def _constant_ends(usual: _Usual) -> _Array:
    return _by_row(np.array([usual.bounds.low or 0, usual.bounds.high or 0]), usual.values)


def _tied_integers(usual: _Usual) -> _Array:
    """Each row has two of the values that were drawn for it."""
    flat = usual.values.reshape(len(usual.values), -1)
    chosen = np.where(usual.random.random(flat.shape) < 0.5, flat[:, :1], flat[:, -1:])
    return chosen.reshape(usual.values.shape)


def _zero_runs(usual: _Usual) -> _Array:
    ones = dataclasses.replace(usual, values=np.ones_like(usual.values))
    return np.where(_silence(ones) == 0, 0, usual.values)


def _states(usual: _Usual) -> _Array:
    return np.sign(usual.values) * _by_row(_STATES, usual.values)


def _loud_by_row(usual: _Usual) -> _Array:
    return usual.values * _by_row(_LOUD, usual.values)


def _times(factor: float) -> _Change:
    return lambda usual: usual.values * factor


EXTREMES: Mapping[str, Extreme] = MappingProxyType(
    {
        "zeros": Extreme("zeros alone", _zeros, _zeros),
        "constant": Extreme("rows of one number, exact in float32", _constant, _constant_ends),
        "level": Extreme("rows of any one number, and of steps that are alike", _level),
        "silence": Extreme("runs of zeros between loud and quiet steps", _silence, _zero_runs),
        "tiny": Extreme("about 1e-10, and denormal numbers", _tiny),
        "loud": Extreme("30 times the usual values", _times(30.0), widens=True),
        "louder": Extreme("1,000 times the usual values", _times(1000.0), widens=True),
        "ends": Extreme("the lowest and the highest value that is described", _ends, _ends, needs_bounds=True),
        "ties": Extreme("few different values, so that many are equal", _ties, _tied_integers),
        "states": Extreme("states of zeros, of 1 and -1, and beyond", _states, is_of_states=True),
    }
)
"""The kinds, by name, in the order in which they are drawn."""

LOUD_BY_ROW = Extreme("30 and 300 times the usual values, by row", _loud_by_row, widens=True)
"""For rows that are long, too."""
