"""How far rounding moves the results of each row: golden cases are chosen by it, and their limits follow from it."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.reference import MOVED, Truth
from rnnserve.export.parity.tolerances import ULP
from rnnserve.export.tensor_shapes import axis_of, mask_before_lengths
from rnnserve.protos.differences import coarseness, equally_non_finite, scale
from rnnserve.protos.golden import Inference
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Rounding"]

_Array = npt.NDArray[Any]
_Inputs = Mapping[str, _Array]

_MOVES = 4
"""Runs in float64 on inputs that are moved."""


class Rounding:
    """Samples of what rounding does to a model's results.

    Eager's results and another runtime's are two samples, in which a row's rounding may be small by luck. Float64 on
    inputs that are moved by as much as float32 rounds gives further samples.
    """

    def __init__(
        self, model: ModelDescription, reference: Truth, compute: Inference, random: np.random.Generator
    ) -> None:
        """Take what computes the samples, and the generator by which inputs are moved."""
        self._model, self._reference, self._compute, self._random = model, reference, compute, random

    def distances(
        self, inputs: _Inputs, copies: Sequence[_Inputs] | None = None, *, with_model: bool = True
    ) -> npt.NDArray[np.float64]:
        """Measure how far the results of each row move.

        Args:
            inputs: Every input by name, as in a golden case.
            copies: Result of `moved_copies` for the inputs; None to move them now.
            with_model: Whether the ONNX model's results are one of the samples. They are not where limits are made:
                what is judged by a limit must not widen it. Where rows are chosen, those whose integers differ are
                infinitely far: a place among values that are equal but for rounding is no golden result.

        Returns:
            (batch,) float64: the distance of the value that moves furthest, in the unit of limits.
        """
        copies = self.moved_copies(inputs) if copies is None else copies
        exact, eager = self._reference.exact(inputs), self._reference.eager(inputs)
        samples = [eager, *([self._compute(inputs)] if with_model else []), *map(self._reference.exact, copies)]
        if self._reference.exact_by == MOVED:
            samples += self._reference.moved(inputs)
        outputs = self._model.outputs
        furthest = np.zeros(next(exact[tensor.name].shape[axis_of(tensor, BATCH) or 0] for tensor in outputs))
        for sample, tensor in itertools.product(samples, outputs):
            found, expected = sample[tensor.name], exact[tensor.name]
            if found.shape != expected.shape or (expected.dtype.kind != "f" and not with_model):
                continue
            mask = mask_before_lengths(tensor, expected.shape, inputs, self._model.lengths)
            distance = _distance(found, expected, eager[tensor.name])
            distance = distance if mask is None else np.where(mask, distance, 0)
            by_row = np.moveaxis(distance, axis_of(tensor, BATCH) or 0, 0).reshape(furthest.size, -1)
            furthest = np.maximum(furthest, by_row.max(axis=1))
        return furthest

    def moved_copies(self, inputs: _Inputs) -> list[Arrays]:
        """Move a batch several times by up to one step of float32 near 1, if there is float64 to run it in."""
        if self._reference.exact_by == MOVED:
            return []
        return [{name: self._moved(array) for name, array in inputs.items()} for _ in range(_MOVES)]

    def _moved(self, array: _Array) -> _Array:
        if array.dtype.kind != "f":
            return array
        moved: _Array = array + ULP * self._random.uniform(-1, 1, array.shape)
        return moved


def _distance(found: _Array, expected: _Array, eager: _Array) -> _Array:
    """Give how far values are from float64's, in the unit of limits; of integers that are not eager's, infinity."""
    if expected.dtype.kind != "f":
        return np.where(found == eager, 0.0, np.inf)
    with np.errstate(invalid="ignore"):
        distance = np.abs(found.astype(np.float64) - expected)
    distance = np.where(equally_non_finite(found, expected), 0, np.nan_to_num(distance, nan=np.inf))
    unit: _Array = distance / (scale(expected) * (coarseness(found.dtype) if found.dtype.kind == "f" else 1))
    return unit
