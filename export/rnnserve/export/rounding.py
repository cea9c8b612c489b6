"""How far rounding may move a model's results, row by row: a trained recurrence amplifies it on some inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.parity.reference import MOVED, Truth
from rnnserve.export.parity.tolerances import ULP
from rnnserve.export.tensor_shapes import axis_of, lengths_inputs, mask_before_lengths
from rnnserve.protos.differences import coarseness, equally_non_finite, scale
from rnnserve.protos.golden import Inference
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Rounding"]

_Array = npt.NDArray[Any]

_SAMPLES = 4


class Rounding:
    """Samples of what rounding does to a model's results.

    Eager's results and another runtime's are two samples, in which a row's rounding may be small by luck. Float64 on
    inputs that are moved by as much as float32 rounds gives further samples.

    Attributes:
        reference: What computes the results that are judged by.
    """

    def __init__(
        self, model: ModelDescription, reference: Truth, compute: Inference, random: np.random.Generator
    ) -> None:
        """Take what computes the samples.

        Args:
            model: What is computed.
            reference: Its module, or what stands for it.
            compute: Its ONNX model.
            random: Moves the inputs.
        """
        self.reference = reference
        self._outputs = model.outputs
        self._lengths = lengths_inputs(model.inputs)
        self._compute = compute
        self._random = random

    def distances(self, inputs: Mapping[str, _Array], *, with_model: bool = True) -> npt.NDArray[np.float64]:
        """Measure how far the results of each row move.

        Args:
            inputs: Every input by name, as in a golden case.
            with_model: Whether the ONNX model's results are one of the samples. They are not where limits are made:
                what is judged by a limit must not widen it. Where rows are chosen, those whose integers differ are
                infinitely far: a place among values that are equal but for rounding is no golden result.

        Returns:
            (batch,) float64: the distance of the value that moves furthest, in the unit of limits.
        """
        exact, eager = self.reference.exact(inputs), self.reference.eager(inputs)
        rows = next(exact[tensor.name].shape[axis_of(tensor, BATCH) or 0] for tensor in self._outputs)
        furthest = np.zeros(rows)
        for sample in self._samples(inputs, with_model=with_model):
            for tensor in self._outputs:
                found, expected = sample[tensor.name], exact[tensor.name]
                if found.shape != expected.shape or (expected.dtype.kind != "f" and not with_model):
                    continue
                mask = mask_before_lengths(tensor, expected.shape, inputs, self._lengths)
                if expected.dtype.kind != "f":
                    distance = np.where(found == eager[tensor.name], 0.0, np.inf)
                else:
                    with np.errstate(invalid="ignore"):
                        distance = np.abs(found.astype(np.float64) - expected)
                    distance = np.where(equally_non_finite(found, expected), 0, np.nan_to_num(distance, nan=np.inf))
                distance = distance if mask is None else np.where(mask, distance, 0)
                is_float = expected.dtype.kind == "f"
                unit = scale(expected) * (coarseness(found.dtype) if found.dtype.kind == "f" else 1) if is_float else 1
                by_row = np.moveaxis(distance, axis_of(tensor, BATCH) or 0, 0).reshape(rows, -1)
                furthest = np.maximum(furthest, by_row.max(axis=1) / unit)
        return furthest

    def _samples(self, inputs: Mapping[str, _Array], *, with_model: bool) -> Iterator[Mapping[str, _Array]]:
        yield self.reference.eager(inputs)
        if with_model:
            yield self._compute(inputs)
        if self.reference.exact_by == MOVED:
            yield from self.reference.moved(inputs)
            return
        for _ in range(_SAMPLES):
            yield self.reference.exact({name: self._moved(array) for name, array in inputs.items()})

    def _moved(self, array: _Array) -> _Array:
        """Move floats by up to one step of float32 near 1; the result is float64."""
        if array.dtype.kind != "f":
            return array
        moved: _Array = array + ULP * self._random.uniform(-1, 1, array.shape)
        return moved
