"""How far rounding may move a classifier's results, row by row: a trained recurrence amplifies it on some inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.classifier_tensors import batch_axes
from rnnserve.export.limits import replay_limits
from rnnserve.export.parity import Reference
from rnnserve.models import DirectionClassifier
from rnnserve.protos.differences import scale
from rnnserve.protos.golden import Run

__all__ = ["Rounding"]

_Array = npt.NDArray[Any]

_SAMPLES = 4
_SIZE = float(np.finfo(np.float32).eps)


class Rounding:
    """What rounding may do to a classifier's results.

    Eager's own and another runtime's are two samples of it, in which a row may be lucky. Float64 with points and states
    that are off by as much as float32 rounds gives more.

    Attributes:
        reference: the classifier in float32 and in float64.
    """

    def __init__(self, classifier: DirectionClassifier, run: Run, random: np.random.Generator) -> None:
        self.reference = Reference(classifier)
        self._batch_axes = batch_axes(classifier.architecture)
        self._run = run
        self._random = random

    def reach(self, rows: Mapping[str, _Array]) -> npt.NDArray[np.float64]:
        """How far any value of each row moves, as a part of what golden results allow.

        Args:
            rows: every input by name, as in a golden case.

        Returns:
            (batch,), 1 where the limit is reached.
        """
        exact = self.reference.exact(rows)
        reach = np.zeros(len(rows["lengths"]))
        for sample in self._samples(rows):
            for name, found in sample.items():
                pairs = zip(self._by_row(name, found), self._by_row(name, exact[name]), strict=True)
                for row, (at, of) in enumerate(pairs):
                    reach[row] = max(reach[row], np.abs(at - of).max() / (_limit() * scale(of)))
        return reach

    def _samples(self, rows: Mapping[str, _Array]) -> Iterator[Mapping[str, _Array]]:
        yield self.reference.eager(rows)
        yield self._run(rows)
        for _ in range(_SAMPLES):
            yield self.reference.exact({name: self._moved(rows[name]) for name in rows})

    def _moved(self, array: _Array) -> _Array:
        if array.dtype != np.float32:  # lengths
            return array
        moved: _Array = array + _SIZE * self._random.uniform(-1, 1, array.shape)
        return moved

    def _by_row(self, name: str, array: _Array) -> _Array:
        return np.moveaxis(array, self._batch_axes[name], 0)


def _limit() -> float:
    return min(min(at.sequence_largest, at.walk_logits) for at in replay_limits())
