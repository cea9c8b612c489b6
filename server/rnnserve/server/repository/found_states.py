"""Inferred states: what a version needs to serve the parts of sequences with states that were found in its graph.

They are not part of the model's interface: only the graph of `PARTS` has them. It runs the requests of sequences, whose
states the server keeps, or seals, and no others.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, PARTS, ArtifactError
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.golden import Case
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.boundary.checked_request import Array

__all__ = ["begun_cases", "with_found_states"]


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


def begun_cases(cases: Sequence[Case], manifest: manifest_pb2.Manifest, defaults: Mapping[str, Array]) -> list[Case]:
    """Add the states with which a sequence begins to golden cases: those of `defaults`, else zeros."""
    rows_at = {tensor.name: [axis.name for axis in tensor.axes].index(BATCH) for tensor in manifest.inputs}
    begun = []
    for case in cases:
        name, first = next(iter(case.inputs.items()))
        rows = first.shape[rows_at[name]]
        states = {
            tensor.name: np.ascontiguousarray(
                np.broadcast_to(
                    defaults.get(tensor.name, np.zeros((), DTYPES[tensor.datatype])),
                    [rows if axis.size < 0 else axis.size for axis in tensor.axes],
                )
            )
            for tensor in manifest.parts.inputs
        }
        begun.append(dataclasses.replace(case, inputs={**case.inputs, **states}))
    return begun
