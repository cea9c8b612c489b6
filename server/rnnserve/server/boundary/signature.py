"""What a model takes and gives, read from the exported graph itself.

The names of the dynamic axes decide how requests are joined: along the axis named "batch"; and padded: along the axis
named "sequence". Nothing else is configured.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, MODEL, ArtifactError

__all__ = ["BATCH", "CONTENTS", "DTYPES", "LENGTHS", "SEQUENCE", "Signature", "TensorSpec", "read_signature"]

BATCH, SEQUENCE, LENGTHS = "batch", "sequence", "lengths"

DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
"""The protocol's datatypes that the server accepts, as numpy's (little-endian, as in the protocol)."""

CONTENTS = {"FP32": "fp32_contents", "INT64": "int64_contents"}
"""The field of InferTensorContents in which each datatype's elements belong."""

_ONNX_TYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: As in the graph.
        datatype: The protocol's name, "FP32" or "INT64".
        axes: Name of each axis, outermost first: ("batch", "sequence", "features").
        sizes: Size of each axis, -1 where a request chooses it: (-1, -1, 2).
        optional: Whether a request may leave the input out (`lengths`: every row has full length; states: zeros).
    """

    name: str
    datatype: str
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    optional: bool = False

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """The datatype as numpy's."""
        return DTYPES[self.datatype]

    @functools.cached_property
    def batch_axis(self) -> int:
        """Where the batch axis is: 0 for `input`, 1 for `h_0`."""
        return self.axes.index(BATCH)

    @functools.cached_property
    def sequence_axis(self) -> int | None:
        """Where the sequence axis is, or None for a tensor without one, such as `lengths` or `h_0`."""
        return self.axes.index(SEQUENCE) if SEQUENCE in self.axes else None

    def shape(self, batch: int, sequence: int) -> tuple[int, ...]:
        """The shape for a batch: (batch, sequence, 2) for an `input` of 2 features."""
        shape = list(self.sizes)
        shape[self.batch_axis] = batch
        if self.sequence_axis is not None:
            shape[self.sequence_axis] = sequence
        return tuple(shape)

    def __str__(self) -> str:
        sized = (a if s < 0 else f"{a}={s}" for a, s in zip(self.axes, self.sizes, strict=True))
        return f'"{self.name}" {self.datatype} ({", ".join(sized)})'


@dataclasses.dataclass(frozen=True)
class Signature:
    """The tensors of a model, in the graph's order.

    Attributes:
        inputs: By name; `main` among them.
        outputs: By name.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @functools.cached_property
    def main(self) -> TensorSpec:
        """The input that sets batch and sequence sizes: the required one with both axes."""
        return next(spec for spec in self.inputs.values() if spec.sequence_axis is not None)

    def __str__(self) -> str:
        required = [str(spec) for spec in self.inputs.values() if not spec.optional]
        optional = [str(spec) for spec in self.inputs.values() if spec.optional]
        return " and ".join(required) + (f", optionally {', '.join(optional)}" if optional else "")


class _GraphTensor(Protocol):
    """An input or output of a session, as onnxruntime describes it."""

    name: str
    type: str
    shape: Sequence[int | str | None]


def read_signature(
    inputs: Iterable[_GraphTensor], outputs: Iterable[_GraphTensor], manifest: manifest_pb2.Manifest
) -> Signature:
    """Read the signature from a session's tensors, and compare the manifest with it.

    Raises:
        ArtifactError: If graph and manifest disagree, or the graph has no input with axes "batch" and "sequence".
    """
    signature = Signature(_specs(inputs, manifest.inputs), _specs(outputs, manifest.outputs))
    if not any(spec.sequence_axis is not None for spec in signature.inputs.values()):
        raise ArtifactError(f'{MODEL}: no input has an axis named "{SEQUENCE}"; export with dynamic axes')
    return signature


def _specs(nodes: Iterable[_GraphTensor], tensors: Iterable[manifest_pb2.Tensor]) -> dict[str, TensorSpec]:
    described = {tensor.name: tensor for tensor in tensors}
    specs: dict[str, TensorSpec] = {}
    for node in nodes:
        tensor = described.pop(node.name, None)
        if tensor is None:
            raise ArtifactError(f'{MANIFEST}: does not describe the tensor "{node.name}" of {MODEL}')
        spec = TensorSpec(
            name=tensor.name,
            datatype=tensor.datatype,
            axes=tuple(axis.name for axis in tensor.axes),
            sizes=tuple(axis.size for axis in tensor.axes),
            optional=tensor.default != manifest_pb2.DEFAULT_REQUIRED,
        )
        found = tuple(node.shape)
        expected = tuple(axis if size < 0 else size for axis, size in zip(spec.axes, spec.sizes, strict=True))
        if found != expected or _ONNX_TYPES.get(node.type) != spec.datatype:
            raise ArtifactError(f"{MANIFEST}: describes {spec}, but in {MODEL} it is {node.type} {list(found)}")
        if BATCH not in spec.axes:
            raise ArtifactError(f'{MODEL}: "{node.name}" has no axis named "{BATCH}", so requests cannot share a run')
        specs[spec.name] = spec
    if described:
        raise ArtifactError(f'{MODEL}: lacks the tensor "{next(iter(described))}" that {MANIFEST} describes')
    return specs
