"""The signature of a model, read from the exported graph itself and compared with the manifest."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, MANIFEST, MODEL, ArtifactError
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import infinite_defaults
from rnnserve.server.validation.signature import Array, Batching, Signature, TensorSpec

__all__ = ["read_signature"]

_ONNX_TYPES = {
    "tensor(bool)": "BOOL",
    **{f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


def read_signature(
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    manifest: manifest_pb2.Manifest,
    file: str = MODEL,
    defaults: Mapping[str, Array] = MappingProxyType({}),
) -> Signature:
    """Read the signature from a session of `file`, and compare the manifest with it. Raises ArtifactError.

    `defaults` are the values of omitted inputs, by name, if the manifest has recorded defaults.
    """
    given = _specs(inputs, manifest.inputs, file)
    twice = next((spec for spec in given.values() if spec.relates_steps), None)
    if twice is not None:
        raise ArtifactError(f"{file}: {twice} has the same dynamic axis twice")
    for tensor in manifest.inputs:
        if (tensor.default == manifest_pb2.DEFAULT_RECORDED) != (tensor.name in defaults):
            raise ArtifactError(f'{MANIFEST}: "{tensor.name}" has a default in {DEFAULTS}, which was not read')
        if not given.keys() >= set(tensor.left_out_with):
            raise ArtifactError(
                f'{MANIFEST}: "{tensor.name}" is recorded as omitted together with {", ".join(tensor.left_out_with)}'
            )
    infinite = infinite_defaults(defaults)
    lost = manifest.finiteness.lost_inputs
    non_finite = () if manifest.finiteness.allowed else manifest.finiteness.outputs
    limits = {axis: limits for spec in given.values() for axis, limits in spec.limits.items()}
    signature = Signature(
        {
            name: dataclasses.replace(
                spec,
                low=limits[spec.lengths_of][0] if spec.lengths_of in limits else spec.low,  # no row may be shorter
                default=defaults.get(name),
                must_be_finite=spec.is_float and name in lost,
                may_be_infinite=name in infinite,
            )
            for name, spec in given.items()
        },
        {
            name: dataclasses.replace(
                spec,
                may_be_non_finite=spec.is_float and name in non_finite,
                may_be_infinite=spec.continues_as in infinite,
            )
            for name, spec in _specs(outputs, manifest.outputs, file).items()
        },
        _batching_of(manifest),
    )
    _check(signature)
    return signature


def _batching_of(manifest: manifest_pb2.Manifest) -> Batching:
    match manifest.batching.mode:
        case manifest_pb2.BATCHING_PADDED:
            # The rule decides where a shorter row is cut, and the run can't check that.
            fitted = any(a.means != manifest_pb2.MEANS_PROVEN for t in manifest.outputs for a in t.derived_axes)
            return Batching.JOINED if fitted else Batching.PADDED
        case manifest_pb2.BATCHING_JOINED:
            return Batching.JOINED
        case manifest_pb2.BATCHING_ALONE:
            return Batching.ALONE
        case _:
            raise ArtifactError(f"{MANIFEST}: does not record which requests can share a batch; export the model again")


def _check(signature: Signature) -> None:
    """Refuse undetermined sizes, invalid states and lengths, and padding of axes without lengths."""
    inputs = signature.inputs.values()
    if not inputs:
        raise ArtifactError(f"{MANIFEST}: the model has no input")
    if all(spec.optional for spec in inputs) and any(spec.sequence_axes or spec.limits for spec in inputs):
        raise ArtifactError(f"{MANIFEST}: no input is required, so requests have no sizes")
    if BATCH in signature.main.limits and signature.batching is not Batching.ALONE:
        raise ArtifactError(f"{MANIFEST}: lets requests share a batch, but limits the number of rows")
    for spec in (*inputs, *signature.outputs.values()):
        for axis in sorted(spec.sized_by):
            if axis not in signature.sequence_axes:
                raise ArtifactError(
                    f'{MANIFEST}: the axis "{axis}" of "{spec.name}" is not in any required input, so its size is '
                    "unknown"
                )
    for spec in signature.outputs.values():
        if spec.continues_as and spec.continues_as not in signature.inputs:
            raise ArtifactError(f'{MANIFEST}: "{spec.name}" continues as "{spec.continues_as}", which is not an input')
    for spec in inputs:
        if not spec.lengths_of:
            continue
        if spec.lengths_of not in signature.sequence_axes:
            raise ArtifactError(
                f'{MANIFEST}: {spec} contains lengths of "{spec.lengths_of}", which is not a sequence axis'
            )
        if signature.lengths[spec.lengths_of] is not spec:
            raise ArtifactError(f'{MANIFEST}: several inputs contain the lengths of the axis "{spec.lengths_of}"')
        if spec.axes != (BATCH,) or spec.datatype not in ("INT32", "INT64"):
            raise ArtifactError(f"{MANIFEST}: {spec} contains lengths; expected the axes (batch), and INT64 or INT32")
    without = [axis for axis in signature.sequence_axes if axis not in signature.lengths]
    if signature.is_padded and without:
        raise ArtifactError(
            f'{MANIFEST}: lets rows be padded, but no input contains their lengths along the axis "{without[0]}"'
        )


def _specs(nodes: Iterable[Any], tensors: Iterable[manifest_pb2.Tensor], file: str) -> dict[str, TensorSpec]:
    """The specs of tensors in the graph's order. `nodes` are onnxruntime's, with `name`, `type` and `shape`."""
    described = {tensor.name: tensor for tensor in tensors}
    specs: dict[str, TensorSpec] = {}
    for node in nodes:
        tensor = described.pop(node.name, None)
        if tensor is None:
            raise ArtifactError(f'{MANIFEST}: does not describe the tensor "{node.name}" of {file}')
        spec = _spec_of(tensor)
        found = tuple(node.shape)
        expected = tuple(axis if size < 0 else size for axis, size in zip(spec.axes, spec.sizes, strict=True))
        if found != expected or _ONNX_TYPES.get(node.type) != spec.datatype:
            raise ArtifactError(f"{MANIFEST}: describes {spec}, but {file} has {node.type} {list(found)}")
        if (BATCH, -1) not in zip(spec.axes, spec.sizes, strict=True):
            raise ArtifactError(f'{file}: "{node.name}" has no axis named "{BATCH}", so requests cannot share a batch')
        if spec.axes.count(BATCH) > 1:
            raise ArtifactError(f"{file}: {spec} has the same dynamic axis twice")
        specs[spec.name] = spec
    if described:
        raise ArtifactError(f'{file}: lacks the tensor "{next(iter(described))}" that {MANIFEST} describes')
    return specs


def _spec_of(tensor: manifest_pb2.Tensor) -> TensorSpec:
    if tensor.datatype not in DTYPES:
        raise ArtifactError(
            f'{MANIFEST}: "{tensor.name}" has the datatype "{tensor.datatype}"; this server supports '
            f"{', '.join(DTYPES)}, but not text"
        )
    low: int | float | None = None
    high: int | float | None = None
    if tensor.HasField("integers"):
        low, high = tensor.integers.low, tensor.integers.high
        if low >= high:
            raise ArtifactError(
                f'{MANIFEST}: "{tensor.name}" has an empty range of integers, from {low} to below {high}'
            )
    elif tensor.HasField("floats"):
        low, high = tensor.floats.low, tensor.floats.high
    limits = {axis.name: (axis.smallest or 1, axis.largest) for axis in tensor.axes if axis.size < 0 and axis.largest}
    for axis, (smallest, largest) in limits.items():
        if smallest > largest:
            raise ArtifactError(
                f'{MANIFEST}: the axis "{axis}" of "{tensor.name}" has an invalid range of {smallest} to {largest} '
                "steps"
            )
    axes = tuple(axis.name for axis in tensor.axes)
    derived = {axis.name: DerivedSize.of_axis(axis) for axis in tensor.derived_axes}
    for axis, size in derived.items():
        valid = min(size.multiply, size.divide, size.times) > 0 and min(size.plus, size.smallest, size.largest) >= 0
        if axis == BATCH or not valid or axis not in axes:
            raise ArtifactError(f'{MANIFEST}: the size of the axis "{axis}" of "{tensor.name}" cannot be {size}')
    return TensorSpec(
        name=tensor.name,
        datatype=tensor.datatype,
        axes=axes,
        sizes=tuple(axis.size for axis in tensor.axes),
        derived=derived,
        limits=limits,
        optional=tensor.default != manifest_pb2.DEFAULT_REQUIRED,
        lengths_of=tensor.lengths_of,
        low=low,
        high=high,
        required_because=tensor.required_because,
        left_out_with=tuple(tensor.left_out_with),
        continues_as=tensor.continues_as,
        zeros_after_lengths=tensor.zeros_after_lengths,
    )
