"""What a version needs to serve the parts of sequences with states that were found in its graph, when it was published.

They are no part of the model's interface: only the graph of `PARTS` has them. It runs the requests of sequences, whose
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
from rnnserve.server.repository.graph_choice import GraphChoice
from rnnserve.server.validation.checked_request import Array

__all__ = ["begun_cases", "why_not_found", "with_found_states"]


def why_not_found(manifest: manifest_pb2.Manifest, choice: GraphChoice) -> str:
    """Say why found states are of no use where this graph serves; empty where there are none, or they are.

    Args:
        manifest: Manifest of the version.
        choice: The graph that serves.
    """
    made_of = manifest.parts.made_of
    if manifest.parts.file and made_of != choice.file:
        return f"{manifest.parts.file} is made of {made_of}, and {choice.file} serves, whose answers have other bits"
    return ""


def with_found_states(manifest: manifest_pb2.Manifest) -> manifest_pb2.Manifest:
    """Give a manifest that has the found states among its inputs and outputs, as the graph of parts has.

    Raises:
        ArtifactError: If it names another file, or a found state is not paired.
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
    """Give golden cases the states with which a sequence begins.

    Args:
        cases: Cases of the version.
        manifest: Manifest of the version.
        defaults: Values that stand for inputs that are left out, where they are not zeros.
    """
    rows = {tensor.name: [axis.name for axis in tensor.axes].index(BATCH) for tensor in manifest.inputs}
    begun = []
    for case in cases:
        batch = next(array.shape[rows[name]] for name, array in case.inputs.items())
        states = {
            tensor.name: np.ascontiguousarray(
                np.broadcast_to(
                    defaults.get(tensor.name, np.zeros((), DTYPES[tensor.datatype])),
                    [batch if axis.size < 0 else axis.size for axis in tensor.axes],
                )
            )
            for tensor in manifest.parts.inputs
        }
        begun.append(dataclasses.replace(case, inputs={**case.inputs, **states}))
    return begun
