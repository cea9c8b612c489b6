"""Inferred states: what a version needs to serve the parts of sequences with states that were found in its graph.

They are not part of the model's interface: only the graph of `PARTS` has them. It runs the requests of sequences, whose
states the server keeps, or seals. From some size on it runs whole requests, too, from the states of a beginning.
"""

from collections.abc import Mapping

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, PARTS, ArtifactError
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.boundary.checked_request import Array

__all__ = ["Beginning", "with_found_states"]

_KEPT_ROWS = 16


def with_found_states(manifest: manifest_pb2.Manifest) -> manifest_pb2.Manifest:
    """Return the manifest with the inferred states among its inputs and outputs, as the graph of parts has them.

    Raises:
        ArtifactError: If it names another file, or a state is not paired.
    """
    parts = manifest.parts
    if parts.file != PARTS:
        raise ArtifactError(f'{MANIFEST}: has states in "{parts.file}"; expected {PARTS}')
    if [tensor.name for tensor in parts.inputs] != [tensor.continues_as for tensor in parts.outputs]:
        raise ArtifactError(f"{MANIFEST}: the states of {PARTS} are not paired, initial with final ones, in order")
    every = manifest_pb2.Manifest()
    every.CopyFrom(manifest)
    every.inputs.extend(parts.inputs)
    every.outputs.extend(parts.outputs)
    return every


class Beginning:
    """Adds the inferred states with which sequences begin to the inputs of a run."""

    def __init__(self, manifest: manifest_pb2.Manifest, defaults: Mapping[str, Array]) -> None:
        """Take a version's manifest, and the values for omitted inputs if they are not zeros."""
        self._rows_at = {tensor.name: [axis.name for axis in tensor.axes].index(BATCH) for tensor in manifest.inputs}
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
        """Return the inputs of a whole run, by name, and the states for as many rows."""
        first = next(iter(feeds))
        rows = feeds[first].shape[self._rows_at[first]]
        begun = self._made.get(rows)
        return {**feeds, **(self._of(rows) if begun is None else begun)}

    def _of(self, rows: int) -> dict[str, Array]:
        """Make the states of so many rows; those of few rows are kept, since runs only read them."""
        begun = {
            name: np.ascontiguousarray(np.broadcast_to(value, [rows if size < 0 else size for size in sizes]))
            for name, sizes, value in self._states
        }
        if rows <= _KEPT_ROWS:
            self._made[rows] = begun
        return begun
