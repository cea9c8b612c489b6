"""A served model and its original, a module or a file. Both get the same inputs, and the tables show distances.

A distance is the largest difference, divided by the largest value or by 1 if that is larger. 0 means equal bits.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rnnserve.client import Client, InvalidRequest
from rnnserve.export.tensors import draw_inputs, size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

USUAL: Final = "usual"
_FACTORS: Final = {USUAL: 1.0, "zeros": 0.0, "large": 300.0, "tiny": 1e-12, "one value": 1.0}
KINDS: Final = tuple(_FACTORS)
"""Kinds of values: as drawn, zeros, 300 times the drawn values, 1e-12 times the drawn values, and one value
everywhere."""

_LONGEST = 60  # steps of sequences, if the model has no limit
_CROWD, _THREADS = 24, 12


class AskedModel:
    """A served model. `own` computes the outputs of the original module or file."""

    def __init__(
        self, manifest: manifest_pb2.Manifest, own: Callable[[Arrays], Mapping[str, Array]], client: Client
    ) -> None:
        self.manifest, self.own, self._client = manifest, own, client
        self._random = np.random.default_rng(1)
        self._limits = {axis: limits for axis, limits in size_limits(manifest.inputs).items() if axis != BATCH}
        self.states = {tensor.continues_as: tensor.name for tensor in manifest.outputs if tensor.continues_as}
        self.batch = {
            tensor.name: next((at for at, axis in enumerate(tensor.axes) if axis.name == BATCH), 0)
            for tensors in (manifest.inputs, manifest.outputs)
            for tensor in tensors
        }

    def draw(self, rows: int = 1, steps: int = 0, kind: str = USUAL) -> Arrays:
        """Draw inputs. Each sequence axis has one step more than the previous one. Draw the steps if `steps` is 0."""
        steps = steps or int(self._random.integers(1, _LONGEST))
        sizes = {
            axis: int(np.clip(steps + number, low, high or _LONGEST))
            for number, (axis, (low, high)) in enumerate(self._limits.items())
        }
        arrays = draw_inputs(self.manifest.inputs, self._random, {**sizes, BATCH: rows})
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                drawn = np.full_like(array, 1.5) if kind == "one value" else array * _FACTORS[kind]
                arrays[name] = drawn.astype(array.dtype)
        return arrays

    def distance(self, arrays: Arrays) -> float:
        """Send one request and return the distance of its response."""
        expected = self.own(arrays)
        if not all(np.isfinite(each).all() for each in expected.values()):
            # The model divides by zero, for example: the server refuses to send NaN and infinity.
            try:
                self._client.infer(self.manifest.model, arrays)
            except InvalidRequest:
                return 0.0
            return np.inf
        return apart(self._client.infer(self.manifest.model, arrays), expected)

    def distance_in_a_crowd(self) -> float:
        """Send requests of many lengths at once and return the largest distance."""
        crowd = [self.draw() for _ in range(_CROWD)]
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(lambda arrays: self._client.infer(self.manifest.model, arrays), crowd))
        return max(apart(one, self.own(arrays)) for one, arrays in zip(found, crowd, strict=True))

    def first_row(self, arrays: Mapping[str, Array]) -> Arrays:
        """Take the only row of the arrays, as a session sends and returns it."""
        return {name: array.take(0, self.batch[name]) for name, array in arrays.items()}

    def in_session(self, parts: Sequence[Arrays]) -> list[Mapping[str, Array]]:
        """Send parts of one sequence with one row in a session. Return the responses, which have no batch axis."""
        with self._client.session(self.manifest.model) as session:
            return [session.step(self.first_row(part)) for part in parts]


def apart(found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """Return the distance between the expected arrays and the found arrays with the same names."""
    return max(_apart(found[name], array) for name, array in expected.items())


def _apart(found: Array, expected: Array) -> float:
    if found.shape != expected.shape:
        return np.inf
    if found.tobytes() == expected.tobytes():
        return 0.0
    one, other = found.astype(float), expected.astype(float)
    return float((np.abs(one - other) / max(1.0, np.abs(other).max(initial=0))).max(initial=0))
