"""How far rounding may move a classifier's results, for each row: a trained recurrence amplifies it on some inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.classifier_tensors import batch_axes
from rnnserve.export.limits import replay_limits
from rnnserve.export.parity import Reference
from rnnserve.models import DirectionClassifier
from rnnserve.protos.differences import scale
from rnnserve.protos.golden import Inference

__all__ = ["Rounding"]

_Array = npt.NDArray[Any]

_SAMPLES = 4
_STEP = float(np.finfo(np.float32).eps)  # float32's step from 1 to 2


class Rounding:
    """Samples of what rounding does to a classifier's results.

    Eager's results and another runtime's are two samples, in which a row's rounding may be small by luck. Float64 on
    points and states that are moved by as much as float32 rounds gives further samples.

    Attributes:
        reference: The classifier in float32 and in float64.
    """

    def __init__(self, classifier: DirectionClassifier, compute: Inference, random: np.random.Generator) -> None:
        """Take what computes the samples.

        Args:
            classifier: In evaluation mode, float32.
            compute: Its ONNX model.
            random: Moves the inputs.
        """
        self.reference = Reference(classifier)
        self._batch_axes = batch_axes(classifier.architecture)
        self._compute = compute
        self._random = random

    def reach(self, rows: Mapping[str, _Array]) -> npt.NDArray[np.float64]:
        """Measure how far the results of each row move, as a part of the limit for golden results.

        Args:
            rows: Every input by name, as in a golden case.

        Returns:
            (batch,) float64: of the value that moves furthest; 1 is the limit.
        """
        exact = self.reference.exact(rows)
        reach = np.zeros(len(rows["lengths"]))
        for sample in self._samples(rows):
            for name, found in sample.items():
                pairs = zip(self._by_row(name, found), self._by_row(name, exact[name]), strict=True)
                for row, (values, expected) in enumerate(pairs):
                    reach[row] = max(reach[row], np.abs(values - expected).max() / (_limit() * scale(expected)))
        return reach

    def _samples(self, rows: Mapping[str, _Array]) -> Iterator[Mapping[str, _Array]]:
        yield self.reference.eager(rows)
        yield self._compute(rows)
        for _ in range(_SAMPLES):
            yield self.reference.exact({name: self._moved(rows[name]) for name in rows})

    def _moved(self, array: _Array) -> _Array:
        """Move float32 values by up to one step of float32 near 1; the result is float64."""
        if array.dtype != np.float32:  # lengths
            return array
        moved: _Array = array + _STEP * self._random.uniform(-1, 1, array.shape)
        return moved

    def _by_row(self, name: str, array: _Array) -> _Array:
        """Move the batch axis to the front: the result is a sequence of rows."""
        return np.moveaxis(array, self._batch_axes[name], 0)


def _limit() -> float:
    """Give the tightest limit for one value of a whole sequence, over all devices."""
    return min(min(at.sequence_largest, at.walk_logits) for at in replay_limits())
