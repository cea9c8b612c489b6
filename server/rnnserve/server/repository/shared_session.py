"""One session for whole requests and for parts of sequences: of the graph with found states, which begins as told.

Two sessions of one graph hold its weights twice, since onnxruntime packs them for each. Whole requests on the graph of
parts cost the states of a beginning more, which is nothing beside the run of a graph with so many weights.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.golden import Case
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.repository.trial_requests import TrialRequests, as_request
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.signature import Signature

__all__ = ["LEAST_BYTES", "Beginning", "gives_the_same_bits"]

LEAST_BYTES = 4 << 20
"""Size of a graph's file from which on it has one session: below, a run is short and the memory little."""

_KEPT_ROWS = 16

_SIZES = ((1, 1), (3, 5), (8, 1), (2, 64))  # rows and steps

_Run = Callable[[Sequence[CheckedRequest]], list[dict[str, Array]]]


class Beginning:
    """Adds the states with which sequences begin to the inputs of a run."""

    def __init__(self, manifest: manifest_pb2.Manifest, defaults: Mapping[str, Array]) -> None:
        """Take the found states of a version.

        Args:
            manifest: Manifest of the version.
            defaults: Values that stand for inputs that are left out, where they are not zeros.
        """
        first = manifest.inputs[0]
        self._first, self._rows_at = first.name, [axis.name for axis in first.axes].index(BATCH)
        self._states = [
            (
                tensor.name,
                [axis.size for axis in tensor.axes],
                defaults.get(tensor.name, np.zeros((), DTYPES[tensor.datatype])),
            )
            for tensor in manifest.parts.inputs
        ]

        self._made: dict[int, dict[str, Array]] = {}

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Give the inputs of a whole run, by name, and the states for as many rows."""
        rows = feeds[self._first].shape[self._rows_at]
        begun = self._made.get(rows)
        return {**feeds, **(self._of(rows) if begun is None else begun)}

    def _of(self, rows: int) -> dict[str, Array]:
        """Make the states of so many rows; those of few are kept, since runs only read them."""
        begun = {
            name: np.ascontiguousarray(np.broadcast_to(value, [rows if size < 0 else size for size in sizes]))
            for name, sizes, value in self._states
        }
        if rows <= _KEPT_ROWS:
            self._made[rows] = begun
        return begun


def gives_the_same_bits(
    run: _Run, shared: _Run, signature: Signature, cases: Sequence[Case], trials: TrialRequests
) -> bool:
    """Whether requests have the same answers, byte for byte, on a session of their own and on the shared one.

    Args:
        run: A function that runs requests on their own session.
        shared: A function that runs them on the shared one.
        signature: Tensors of the model.
        cases: Golden cases of the version.
        trials: Further requests.
    """
    requests = [as_request(signature, case.inputs) for case in cases]
    requests += [trials.draw(trials.rows(rows), trials.sizes(steps)) for rows, steps in _SIZES]
    for request in requests:
        (one,), (other,) = run([request]), shared([request])
        if any(array.tobytes() != other[name].tobytes() for name, array in one.items()):
            return False
    return True
