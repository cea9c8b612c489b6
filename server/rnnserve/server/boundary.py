"""The boundary: the one place where a request's bytes become arrays.

Whatever passes it is safe to run: names, datatypes, ranks and sizes are the model's, sizes agree with the bytes, no
axis is 0 (onnxruntime aborts the process on some of those), lengths lie in 1..sequence (a 0 reads foreign memory before
onnxruntime 1.26), numbers are finite. Everything else ends here, with a message that names the tensor and the axis.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from rnnserve.protos import inference_pb2
from rnnserve.server.errors import InvalidRequest, Unsupported
from rnnserve.server.shapes import axis_of, wrong_batch, wrong_shape
from rnnserve.server.signature import CONTENTS, LENGTHS, Signature, TensorSpec

__all__ = ["Array", "Inference", "Limits", "all_finite", "are_finite", "decode", "read_inference"]

Array = npt.NDArray[Any]

_SHARED_MEMORY = "shared_memory_region"

_FEW = 64
"""Up to so many numbers Python's own sum is faster than two calls of numpy: five times as fast for eight."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How large a request may be, and what its numbers may be.

    Attributes:
        max_message_bytes: Of one request, as sent.
        max_batch: Rows of one request.
        max_sequence: Points of one sequence.
        allow_non_finite: Let NaN and infinity through to the model.
    """

    max_message_bytes: int = 16 << 20
    max_batch: int = 16384
    max_sequence: int = 4096
    allow_non_finite: bool = False


@dataclasses.dataclass(slots=True)
class Inference:
    """A request that may be run.

    Attributes:
        batch: Size of the batch axis.
        sequence: Size of the sequence axis.
        longest: The largest of `lengths`: points behind it are padding in every row.
        inputs: By name, the arrays that were sent; read-only.
        outputs: Names of what is wanted, in the order asked.
    """

    batch: int
    sequence: int
    longest: int
    inputs: dict[str, Array]
    outputs: tuple[str, ...]


def decode(payload: bytes, limits: Limits) -> inference_pb2.ModelInferRequest:
    """Parse the bytes of a ModelInferRequest.

    Raises:
        InvalidRequest: If they are too many, or not such a message.
    """
    if len(payload) > limits.max_message_bytes:
        raise InvalidRequest(
            f"the request has {len(payload):,} bytes, more than the {limits.max_message_bytes:,} that this server "
            "takes (--max-message-bytes): send fewer rows (the batch axis) a request"
        )
    try:
        return inference_pb2.ModelInferRequest.FromString(payload)
    except DecodeError:
        raise InvalidRequest(
            f"the request's {len(payload):,} bytes are not an inference.ModelInferRequest: are client and server "
            "speaking the same protocol?"
        ) from None


def read_inference(request: inference_pb2.ModelInferRequest, signature: Signature, limits: Limits) -> Inference:
    """Turn a request for a model with this signature into arrays.

    Raises:
        InvalidRequest: If anything about it is not as the signature and the limits say.
        Unsupported: If it asks for shared memory, a state kept by the server, or classification.
    """
    _refuse_unsupported(request)
    specs = _specs_of(request, signature)
    shapes = _shapes_of(request, specs, signature, limits)
    arrays = _arrays_of(request, specs, shapes)
    batch, sequence = shapes[signature.main.name][:2]
    lengths = arrays.get(LENGTHS)
    if lengths is not None:
        _check_lengths(lengths, sequence, signature)
    if not limits.allow_non_finite:
        for spec in specs:
            if spec.datatype == "FP32":
                arrays[spec.name] = _finite(arrays[spec.name], spec, lengths)
    longest = sequence if lengths is None else int(lengths.max())
    return Inference(batch, sequence, longest, arrays, _outputs_of(request, signature))


def _refuse_unsupported(request: inference_pb2.ModelInferRequest) -> None:
    sequence_id = request.parameters.get("sequence_id")
    if sequence_id is not None and (sequence_id.int64_param or sequence_id.uint64_param or sequence_id.string_param):
        raise Unsupported(
            "parameter sequence_id: ModelInfer keeps no state between requests; ask for h_n and send it on as h_0"
        )
    tensors: Iterable[
        inference_pb2.ModelInferRequest.InferInputTensor | inference_pb2.ModelInferRequest.InferRequestedOutputTensor
    ]
    for kind, tensors in (("input", request.inputs), ("output", request.outputs)):
        for tensor in tensors:
            if _SHARED_MEMORY in tensor.parameters:
                raise Unsupported(f'{kind} "{tensor.name}": shared memory is not spoken here; send the bytes')
            if "classification" in tensor.parameters:
                raise Unsupported(
                    f'{kind} "{tensor.name}": the classification extension is not spoken here; ask for logits'
                )


def _specs_of(request: inference_pb2.ModelInferRequest, signature: Signature) -> list[TensorSpec]:
    specs: list[TensorSpec] = []
    for tensor in request.inputs:
        spec = signature.inputs.get(tensor.name)
        if spec is None:
            raise InvalidRequest(
                f'unknown input "{tensor.name}"{_meant(tensor.name, signature.inputs)}: takes {signature}'
            )
        if spec in specs:
            raise InvalidRequest(f'input "{tensor.name}" comes twice')
        if tensor.datatype != spec.datatype:
            raise InvalidRequest(
                f'input "{spec.name}" has datatype "{tensor.datatype}" where {spec.datatype} is expected: it is {spec}'
            )
        specs.append(spec)
    for spec in signature.inputs.values():
        if not spec.optional and spec not in specs:
            raise InvalidRequest(f'input "{spec.name}" is missing: takes {signature}')
    return specs


def _shapes_of(
    request: inference_pb2.ModelInferRequest, specs: list[TensorSpec], signature: Signature, limits: Limits
) -> dict[str, tuple[int, ...]]:
    shapes = {spec.name: tuple(tensor.shape) for spec, tensor in zip(specs, request.inputs, strict=True)}
    for spec in specs:
        wrong = wrong_shape(spec, shapes[spec.name])
        if wrong:
            raise InvalidRequest(wrong)
    main = signature.main
    for spec in specs:
        wrong = wrong_batch(spec, shapes[spec.name], main, shapes[main.name])
        if wrong:
            raise InvalidRequest(wrong)
    batch, sequence = shapes[main.name][:2]
    for axis, size, limit, option in (
        (0, batch, limits.max_batch, "--max-batch"),
        (1, sequence, limits.max_sequence, "--max-sequence"),
    ):
        if size > limit:
            raise InvalidRequest(
                f'input "{main.name}" has shape {list(shapes[main.name])}: {axis_of(main, axis)} is {size}, more than '
                f"the {limit} that this server takes ({option})"
            )
    return shapes


def _arrays_of(
    request: inference_pb2.ModelInferRequest, specs: list[TensorSpec], shapes: dict[str, tuple[int, ...]]
) -> dict[str, Array]:
    raw = request.raw_input_contents
    if not raw:
        return {
            spec.name: _typed(tensor, spec, shapes[spec.name])
            for spec, tensor in zip(specs, request.inputs, strict=True)
        }
    if len(raw) != len(specs):
        names = ", ".join(f'"{spec.name}"' for spec in specs)
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} entries for {len(specs)} inputs ({names}): one each, in their order"
        )
    arrays: dict[str, Array] = {}
    for position, (spec, tensor, data) in enumerate(zip(specs, request.inputs, raw, strict=True)):
        if tensor.HasField("contents"):
            raise InvalidRequest(f'input "{spec.name}" comes in contents and in raw_input_contents: send one of them')
        shape = shapes[spec.name]
        expected = math.prod(shape) * spec.dtype.itemsize
        if len(data) != expected:
            raise InvalidRequest(
                f'input "{spec.name}" of shape {list(shape)} ({", ".join(spec.axes)}) and datatype {spec.datatype} '
                f"takes {expected} bytes; raw_input_contents[{position}] has {len(data)}"
            )
        arrays[spec.name] = np.frombuffer(data, spec.dtype).reshape(shape)
    return arrays


def _typed(tensor: inference_pb2.ModelInferRequest.InferInputTensor, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    field = CONTENTS[spec.datatype]
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f'input "{spec.name}" comes in {other.name}; datatype {spec.datatype} belongs in {field}'
            )
    values = getattr(tensor.contents, field)
    expected = math.prod(shape)
    if len(values) != expected:
        raise InvalidRequest(
            f'input "{spec.name}" of shape {list(shape)} ({", ".join(spec.axes)}) takes {expected} elements; '
            f"{field} has {len(values)}"
        )
    return np.fromiter(values, spec.dtype, expected).reshape(shape)


def _check_lengths(lengths: Array, sequence: int, signature: Signature) -> None:
    wrong = np.flatnonzero((lengths < 1) | (lengths > sequence))
    if wrong.size:
        row = int(wrong[0])
        main = signature.main
        raise InvalidRequest(
            f'input "{LENGTHS}" is {int(lengths[row])} for row {row} of axis 0 (batch): a length lies between 1 and '
            f'{axis_of(main, 1)} of "{main.name}", which is {sequence}'
        )


def all_finite(array: Array) -> bool:
    """Whether every number of an FP32 array is finite."""
    if array.size <= _FEW:
        return math.isfinite(sum(array.reshape(-1).tolist()))  # in double precision, so few of them cannot overflow
    return b"\0" not in np.isfinite(array).tobytes()  # `all` is a call of numpy more, and by far the slower


def are_finite(data: bytes) -> bool:
    """Whether every number of an FP32 tensor is finite, given as the protocol has it: little-endian bytes.

    NaN, infinity and what exceeds 1.7e38 have a highest byte of 0x7F or 0xFF; few others need a closer look.
    """
    highest = data[3::4]
    return (b"\x7f" not in highest and b"\xff" not in highest) or all_finite(np.frombuffer(data, "<f4"))


def _finite(array: Array, spec: TensorSpec, lengths: Array | None) -> Array:
    """Return the array, with zeros where padding is not finite; refuse it where a value that counts is not."""
    if all_finite(array):
        return array
    finite = np.isfinite(array)
    counts = ~finite
    if lengths is not None and spec.sequence_axis is not None:
        steps = np.arange(array.shape[spec.sequence_axis])
        counts &= (steps < lengths[:, None])[..., None]
    found = np.argwhere(counts)
    if found.size:
        at = tuple(int(i) for i in found[0])
        where = ", ".join(f"{axis} {i}" for axis, i in zip(spec.axes, at, strict=True))
        raise InvalidRequest(
            f'input "{spec.name}" is {array[at]} at {list(at)} ({where}): numbers must be finite '
            "(--allow-non-finite lets them through)"
        )
    return np.where(finite, array, array.dtype.type(0))


def _outputs_of(request: inference_pb2.ModelInferRequest, signature: Signature) -> tuple[str, ...]:
    if not request.outputs:
        return tuple(signature.outputs)
    names = tuple(output.name for output in request.outputs)
    for name in names:
        if name not in signature.outputs:
            known = ", ".join(str(spec) for spec in signature.outputs.values())
            raise InvalidRequest(f'unknown output "{name}"{_meant(name, signature.outputs)}: gives {known}')
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f'output "{twice}" is asked for twice')
    return names


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""
