"""Check a request message and make a `CheckedRequest`. This module finds every mistake in a request.

A checked request is safe to run. Names, datatypes, ranks and sizes match the model's, and sizes agree with the bytes.
No axis is 0, because onnxruntime aborts the process on some of those. Lengths lie in 1..sequence, because a 0 reads
foreign memory before onnxruntime 1.26. Numbers are finite, and integers are
within the published bounds.
"""

import difflib
import math
from collections.abc import Iterable, Mapping

from rnnserve.protos.inference_pb2 import ModelInferRequest
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.errors import InvalidRequest, quoted
from rnnserve.server.settings import Settings
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.parsing import (
    check_final_response,
    read_classes,
    read_sequence_control,
    read_timeout,
    refuse_shared_memory,
)
from rnnserve.server.validation.signature import Signature, TensorSpec
from rnnserve.server.validation.values import (
    axis_name,
    check_lengths,
    read_raw,
    read_typed,
    with_valid_values,
    wrong_shape,
    wrong_size,
)

__all__ = ["check_request"]

_MAX_ID = 4096
"""Characters of a request's id. Beyond it: INVALID_ARGUMENT."""

_LONGEST_MISTYPED = 100
"""Most characters of a name that is compared with the known names."""


def check_request(request: ModelInferRequest, signature: Signature, settings: Settings) -> CheckedRequest:
    """Check a request against a model's signature, and read its arrays. Raises InvalidRequest or Unsupported."""
    refuse_shared_memory(request)
    timeout = read_timeout(request.parameters)
    if len(request.id) > _MAX_ID:
        raise InvalidRequest(
            f"the id has {len(request.id):,} characters; the response repeats up to {_MAX_ID:,}", field="id"
        )
    specs = _specs_of(request, signature)
    shapes = _shapes_of(request, specs, signature, settings)
    batch, sizes = signature.batch_of(shapes), signature.sizes_of(shapes)
    arrays = _arrays_of(request, specs, shapes, signature, settings)
    outputs = _outputs_of(request, signature)
    _refuse_large_response(outputs, signature, batch, sizes, settings)
    classes = read_classes(request, signature, batch, sizes)
    longest = signature.longest(sizes, arrays, outputs)
    check_final_response(request.parameters)
    return CheckedRequest(
        batch=batch,
        sizes=sizes,
        longest=longest,
        steps=signature.steps_of(longest),
        inputs=arrays,
        outputs=outputs,
        id=request.id,
        is_raw=bool(request.raw_input_contents),
        sequence=read_sequence_control(request.parameters),
        classes=classes or None,
        timeout=timeout,
    )


def _specs_of(request: ModelInferRequest, signature: Signature) -> list[TensorSpec]:
    """The specs of the sent inputs, in the request's order."""
    specs: list[TensorSpec] = []
    for index, tensor in enumerate(request.inputs):
        spec = signature.inputs.get(tensor.name)
        if spec is None:
            raise InvalidRequest(
                f"unknown input {quoted(tensor.name)}{_suggestion(tensor.name, signature.inputs)}: takes {signature}",
                field=f"inputs[{index}].name",
            )
        if spec in specs:
            raise InvalidRequest(f'input "{tensor.name}" is sent twice', field=f"inputs[{index}].name")
        if tensor.datatype != spec.datatype:
            raise InvalidRequest(
                f'input "{spec.name}" has datatype {quoted(tensor.datatype)}, expected {spec.datatype}: it is {spec}',
                field=f"inputs[{index}].datatype",
            )
        specs.append(spec)
    for spec in signature.inputs.values():
        if not spec.optional and spec not in specs:
            why = f", and {spec.required_because}" if spec.required_because else ""
            raise InvalidRequest(f'input "{spec.name}" is missing{why}: takes {signature}', field="inputs")
    for spec in signature.left_out_together:
        sent = [other.name for other in specs if other.name in spec.left_out_with]
        if sent and spec not in specs:
            raise InvalidRequest(
                f'input "{spec.name}" is missing, and "{sent[0]}" is there: the model takes both, or neither of them',
                field="inputs",
            )
    return specs


def _shapes_of(
    request: ModelInferRequest, specs: list[TensorSpec], signature: Signature, settings: Settings
) -> dict[str, tuple[int, ...]]:
    shapes = {spec.name: tuple(tensor.shape) for spec, tensor in zip(specs, request.inputs, strict=True)}
    for index, spec in enumerate(specs):
        wrong = wrong_shape(spec, shapes[spec.name])
        if wrong:
            raise InvalidRequest(wrong, field=f"inputs[{index}].shape")
    if not specs:
        return shapes
    main = signature.main if signature.main in specs else specs[0]
    for index, spec in enumerate(specs):
        for axis in (BATCH, *spec.sequence_axes):
            sets = main if axis == BATCH else signature.sequence_axes[axis]
            wrong = wrong_size(spec, shapes[spec.name], axis, sets, shapes[sets.name])
            if wrong:
                raise InvalidRequest(wrong, field=f"inputs[{index}].shape")
    limits = [(main, main.batch_axis, settings.max_batch, "send several requests")]
    for axis, spec in signature.sequence_axes.items():
        limits.append((spec, spec.sequence_axes[axis], settings.max_sequence, "--max-sequence"))
    for spec, at, limit, option in limits:
        shape = shapes[spec.name]
        if shape[at] > limit:
            raise InvalidRequest(
                f'input "{spec.name}" has shape {list(shape)}: {axis_name(spec, at)} is {shape[at]}, more than the '
                f"{limit} that this server takes ({option})",
                field=f"inputs[{specs.index(spec)}].shape",
            )
    return shapes


def _arrays_of(
    request: ModelInferRequest,
    specs: list[TensorSpec],
    shapes: dict[str, tuple[int, ...]],
    signature: Signature,
    settings: Settings,
) -> dict[str, Array]:
    """The sent inputs as arrays with valid values, by name."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(specs):
        names = ", ".join(f'"{spec.name}"' for spec in specs)
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} entries for {len(specs)} inputs ({names}): one each, in their order",
            field="raw_input_contents",
        )
    for index, (spec, tensor) in enumerate(zip(specs, request.inputs, strict=True)):
        if raw and tensor.HasField("contents"):
            raise InvalidRequest(
                f'input "{spec.name}" comes in contents and in raw_input_contents: send one of them',
                field=f"inputs[{index}].contents",
            )
    arrays: dict[str, Array] = {}
    lengths: dict[str, Array] = {}  # by sequence axis: (batch)
    try:
        for index, (spec, tensor) in enumerate(zip(specs, request.inputs, strict=True)):
            shape = shapes[spec.name]
            arrays[spec.name] = read_raw(raw[index], spec, shape, index) if raw else read_typed(tensor, spec, shape)
        for axis, spec in signature.lengths.items():
            if spec.name in arrays:
                sets = signature.sequence_axes[axis]
                check_lengths(arrays[spec.name], spec, shapes[sets.name][sets.sequence_axes[axis]], sets)
                lengths[axis] = arrays[spec.name]
        ends, allow = lengths if signature.is_padded else {}, settings.allow_non_finite
        for spec in specs:
            arrays[spec.name] = with_valid_values(arrays[spec.name], spec, ends, allow_non_finite=allow)
    except InvalidRequest as error:
        at = specs.index(spec)
        error.field = f"raw_input_contents[{at}]" if raw else f"inputs[{at}].contents"
        raise
    return arrays


def _outputs_of(request: ModelInferRequest, signature: Signature) -> tuple[str, ...]:
    if not request.outputs:
        return tuple(signature.outputs)
    names = tuple(output.name for output in request.outputs)
    for index, name in enumerate(names):
        if name not in signature.outputs:
            known = ", ".join(str(spec) for spec in signature.outputs.values())
            raise InvalidRequest(
                f"unknown output {quoted(name)}{_suggestion(name, signature.outputs)}: gives {known}",
                field=f"outputs[{index}].name",
            )
    if len(set(names)) != len(names):
        twice = next(index for index, name in enumerate(names) if name in names[:index])
        raise InvalidRequest(f'output "{names[twice]}" is asked for twice', field=f"outputs[{twice}].name")
    return names


def _refuse_large_response(
    outputs: Iterable[str], signature: Signature, batch: int, sizes: Mapping[str, int], settings: Settings
) -> None:
    size_of: dict[str, int] = {}
    for name in outputs:
        spec = signature.outputs[name]
        size_of[name] = math.prod(spec.shape(batch, sizes)) * spec.dtype.itemsize
    size = sum(size_of.values())
    if size > settings.max_response_bytes:
        largest = max(size_of, key=lambda name: size_of[name])
        raise InvalidRequest(
            f'the response would have {size:,} bytes, {size_of[largest]:,} of them "{largest}", more '
            f"than the {settings.max_response_bytes:,} that this server sends (4 times --max-message-bytes): name the "
            "outputs that you need, or send fewer rows (the batch axis) a request",
            field="outputs",
        )


def _suggestion(name: str, known: Iterable[str]) -> str:
    if len(name) > _LONGEST_MISTYPED:
        return ""  # comparing 16 MB takes seconds
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""
