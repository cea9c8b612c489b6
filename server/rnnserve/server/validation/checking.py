"""Check a request message and make a `CheckedRequest`. This module finds every mistake in a request.

A checked request is safe to run. Names, datatypes, ranks and sizes match the model's, and sizes agree with the bytes.
No axis is 0, because onnxruntime aborts the process on some of those. Lengths lie in 1..sequence, because a 0 reads
foreign memory before onnxruntime 1.26. Numbers are finite, and integers are
within the published bounds.

A message about a tensor has its shape, the expected shape with the model's axis names, and the likely mistake.
"""

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rnnserve.protos.datatypes import CONTENTS
from rnnserve.protos.inference_pb2 import ModelInferRequest
from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.errors import InvalidRequest, quoted
from rnnserve.server.settings import Settings
from rnnserve.server.validation.parsing import (
    check_final_response,
    read_classes,
    read_sequence_control,
    read_timeout,
    refuse_shared_memory,
)
from rnnserve.server.validation.signature import Array, CheckedRequest, Signature, TensorSpec

__all__ = [
    "all_finite",
    "are_booleans",
    "are_within",
    "check_lengths",
    "check_request",
    "is_within_bounds",
    "refuse_non_finite",
    "with_valid_values",
    "wrong_shape",
    "wrong_size",
]

_MAX_ID = 4096
"""Characters of a request's id. Beyond it: INVALID_ARGUMENT."""

_LONGEST_MISTYPED = 100
"""Most characters of a name that is compared with the known names."""

_AT_ONCE = 1 << 14
"""Elements of typed contents to convert at once. In between, other threads may take Python's lock."""

_FEW = 64
"""Up to this many numbers, Python's own sum is faster than two calls of numpy: five times as fast for eight."""

_MAX_AXES = 16
"""Most axes that a message repeats. No model has as many."""


def check_request(request: ModelInferRequest, signature: Signature, settings: Settings) -> CheckedRequest:
    """Check a request against a model's signature, and read its arrays. Raises InvalidRequest or Unsupported."""
    refuse_shared_memory(request)
    timeout = read_timeout(request.parameters)
    if len(request.id) > _MAX_ID:
        raise InvalidRequest(f"the id has {len(request.id):,} characters; at most {_MAX_ID:,} are allowed", field="id")
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
                f"unknown input {quoted(tensor.name)}{_suggestion(tensor.name, signature.inputs)}: the model takes "
                f"{signature}",
                field=f"inputs[{index}].name",
            )
        if spec in specs:
            raise InvalidRequest(f'input "{tensor.name}" is sent twice', field=f"inputs[{index}].name")
        if tensor.datatype != spec.datatype:
            raise InvalidRequest(
                f'input "{spec.name}" has datatype {quoted(tensor.datatype)}; expected {spec.datatype}, because the '
                f"input is {spec}",
                field=f"inputs[{index}].datatype",
            )
        specs.append(spec)
    for spec in signature.inputs.values():
        if not spec.optional and spec not in specs:
            why = f", and {spec.required_because}" if spec.required_because else ""
            raise InvalidRequest(f'input "{spec.name}" is missing{why}; the model takes {signature}', field="inputs")
    for spec in signature.left_out_together:
        sent = [other.name for other in specs if other.name in spec.left_out_with]
        if sent and spec not in specs:
            raise InvalidRequest(
                f'input "{spec.name}" is missing, but "{sent[0]}" was sent; send both or neither of them',
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
                f'input "{spec.name}" has shape {list(shape)}: {_axis_name(spec, at)} is {shape[at]}, but this server '
                f"accepts at most {limit} ({option})",
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
            f"raw_input_contents has {len(raw)} entries for {len(specs)} inputs ({names}); send one entry for each "
            "input, in the same order",
            field="raw_input_contents",
        )
    for index, (spec, tensor) in enumerate(zip(specs, request.inputs, strict=True)):
        if raw and tensor.HasField("contents"):
            raise InvalidRequest(
                f'input "{spec.name}" is in both contents and raw_input_contents; send it in only one of them',
                field=f"inputs[{index}].contents",
            )
    arrays: dict[str, Array] = {}
    lengths: dict[str, Array] = {}  # by sequence axis: (batch)
    try:
        for index, (spec, tensor) in enumerate(zip(specs, request.inputs, strict=True)):
            shape = shapes[spec.name]
            arrays[spec.name] = _read_raw(raw[index], spec, shape, index) if raw else _read_typed(tensor, spec, shape)
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
                f"unknown output {quoted(name)}{_suggestion(name, signature.outputs)}: the model returns {known}",
                field=f"outputs[{index}].name",
            )
    if len(set(names)) != len(names):
        twice = next(index for index, name in enumerate(names) if name in names[:index])
        raise InvalidRequest(f'output "{names[twice]}" is requested twice', field=f"outputs[{twice}].name")
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
            f'the response would have {size:,} bytes, {size_of[largest]:,} of them for "{largest}", but this server '
            f"sends at most {settings.max_response_bytes:,} (4 times --max-message-bytes). Request only the outputs "
            "that you need, or send fewer rows (the batch axis) per request",
            field="outputs",
        )


def _suggestion(name: str, known: Iterable[str]) -> str:
    if len(name) > _LONGEST_MISTYPED:
        return ""  # comparing 16 MB takes seconds
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def _axis_name(spec: TensorSpec, axis: int) -> str:
    """Name an axis: `axis 2 (features)`."""
    return f"axis {axis} ({spec.axes[axis]})"


def wrong_shape(spec: TensorSpec, shape: Sequence[int]) -> str | None:
    """Return the mistake in one input's shape: its number of axes, fixed sizes, or limits of dynamic sizes."""
    shape = list(shape)
    if len(shape) > _MAX_AXES:
        return f'input "{spec.name}" has {len(shape):,} axes; expected {spec}'
    if len(shape) < len(spec.sizes):
        wrong, mistake = _wrong_count(spec, shape), _mistake_of_few_axes(spec, shape)
    elif len(shape) > len(spec.sizes):
        wrong, mistake = _wrong_count(spec, shape), _mistake_of_many_axes(spec, shape)
    else:
        found = _wrong_axis(spec, shape)
        if found is None:
            return None
        wrong, mistake = found, _mistake_in_order(spec, shape)
    said = f'input "{spec.name}" has shape {shape}: {wrong}; {spec.name} is {spec.described_axes}'
    return f"{said}. {mistake}" if mistake else said


def wrong_size(
    spec: TensorSpec, shape: Sequence[int], axis: str, other: TensorSpec, other_shape: Sequence[int]
) -> str | None:
    """Return the mistake if a batch or sequence axis has another size than in the `other` input, which sets it."""
    at, other_at = spec.axes.index(axis), other.axes.index(axis)
    size, expected = shape[at], other_shape[other_at]
    if size == expected:
        return None
    said = (
        f'input "{spec.name}" has shape {list(shape)}: {_axis_name(spec, at)} is {size}, but '
        f'{_axis_name(other, other_at)} of "{other.name}" is {expected}; '
    )
    said += "every input has one entry a sequence" if axis == BATCH else f"all inputs have the same {axis}"
    first = next(iter(other.sequence_axes.items()), None)
    if axis == BATCH and first is not None and other_shape[first[1]] == size:
        swapped = list(other.axes)
        swapped[other.batch_axis], swapped[first[1]] = first[0], BATCH
        said += (
            f'. Is "{other.name}" {"sequence-first" if other.batch_axis < first[1] else "batch-first"}? Its shape '
            f"{list(other_shape)} would fit as ({', '.join(swapped)}); send ({', '.join(other.axes)})"
        )
    return said


def _wrong_axis(spec: TensorSpec, shape: list[int]) -> str | None:
    """Return the mistake in an axis's size. The number of axes is right."""
    for axis, (size, expected) in enumerate(zip(shape, spec.sizes, strict=True)):
        if size < 1:
            return f"{_axis_name(spec, axis)} is {size}, but must be 1 or more"
        if expected not in (-1, size):
            return f"{_axis_name(spec, axis)} is {size}, expected {expected}"
        low, high = spec.limits.get(spec.axes[axis], (size, size))
        if not low <= size <= high:
            return f"{_axis_name(spec, axis)} is {size}, but the model takes {low} to {high}"
    return None


def _wrong_count(spec: TensorSpec, shape: list[int]) -> str:
    found, expected = ("1 axis" if count == 1 else f"{count} axes" for count in (len(shape), len(spec.sizes)))
    return f"has {found}, expected {expected}"


def _mistake_of_few_axes(spec: TensorSpec, shape: list[int]) -> str:
    """Recognize a missing batch axis, missing batch and sequence axes, or another missing axis."""
    sizes = list(spec.sizes)
    fixed = [size for size in sizes if size >= 0]
    without_batch = [size for at, size in enumerate(sizes) if at != spec.batch_axis]
    if _fits(shape, without_batch):
        steps = " and ".join(
            f"{shape[at - (at > spec.batch_axis)]} {'points' if fixed else 'steps'}"
            for at in spec.sequence_axes.values()
        )
        what = f"One sequence of {steps}" if steps else "One row"
        return f"Is the batch axis missing? {what} is {_inserted(shape, spec.batch_axis)}"
    if spec.sequence_axes and shape == fixed:
        one = [max(size, 1) for size in sizes]
        return f"Are batch and sequence axes missing? A batch of one sequence with one step is {one}"
    for at in range(len(sizes)):
        if _fits(shape, sizes[:at] + sizes[at + 1 :]):
            return f"Is an axis missing? {spec.axes[at]} is axis {at}: {_inserted(shape, at, max(sizes[at], 1))}"
    return ""


def _mistake_of_many_axes(spec: TensorSpec, shape: list[int]) -> str:
    """Recognize a superfluous axis of size 1."""
    if len(spec.sizes) == 1 and len(shape) == 2 and shape[1] == 1:
        return f"Flatten it to [{shape[0]}]"
    for at, size in enumerate(shape):
        if size == 1 and _fits(shape[:at] + shape[at + 1 :], spec.sizes):
            place = "in front" if at == 0 else f"at {at}"
            return f"Is there an extra axis of size 1 {place}?"
    return ""


def _mistake_in_order(spec: TensorSpec, shape: list[int]) -> str:
    """Recognize axes in another order."""
    # If every axis of a fixed size is right, a size is beyond a limit, such as a batch of too many rows.
    if not _fits(shape, spec.sizes) and len(shape) <= 4:  # of five axes there are 120 orders already
        # Orders that move the fewest axes come first.
        orders = sorted(
            itertools.permutations(range(len(shape))),
            key=lambda order: sum(at != place for place, at in enumerate(order)),
        )
        for order in orders:
            moved = [shape[at] for at in order]
            if _wrong_axis(spec, moved) is None:
                return _say_order(spec, order, moved)
    if not spec.sequence_axes and "layers * directions" in spec.axes:
        at = spec.axes.index("layers * directions")
        if shape[at] != spec.sizes[at]:
            return (
                f"In this model, layers * directions is {spec.sizes[at]}; send one entry for each layer and direction"
            )
    return ""


def _say_order(spec: TensorSpec, order: Sequence[int], moved: list[int]) -> str:
    """Describe the sent order. The model's axis i was sent as axis order[i]."""
    sent = [spec.axes[list(order).index(at)] for at in range(len(order))]
    if not spec.sequence_axes and order[spec.batch_axis] == 0:
        return (
            f'Is it batch-first? "{spec.name}" is ({", ".join(spec.axes)}), even if other inputs are batch-first: '
            f"{moved}"
        )
    last = spec.axes[-1]
    if order[-1] == 0 and spec.sizes[-1] >= 0:
        return f"Are the {last} on the first axis? They belong on the last: {spec.described_axes}"
    if list(order) == [*range(len(order) - 2), len(order) - 1, len(order) - 2]:
        return f"Are the {last} in the middle, ({', '.join(sent)})? Swap the last two axes: {moved}"
    return f"Are the axes in another order, ({', '.join(sent)})? Send ({', '.join(spec.axes)}): {moved}"


def _fits(shape: Sequence[int], sizes: Sequence[int]) -> bool:
    return len(shape) == len(sizes) and all(e in (-1, size) for size, e in zip(shape, sizes, strict=True))


def _inserted(shape: list[int], at: int, size: int = 1) -> list[int]:
    return [*shape[:at], size, *shape[at:]]


def _read_raw(data: bytes, spec: TensorSpec, shape: tuple[int, ...], position: int) -> Array:
    """Make an array over the bytes of `raw_input_contents[position]`, as many as the shape takes."""
    expected = math.prod(shape) * spec.dtype.itemsize
    if len(data) != expected:
        raise InvalidRequest(
            f"{_described(spec, shape)} and datatype {spec.datatype} takes {expected} bytes, but "
            f"raw_input_contents[{position}] has {len(data)}"
        )
    if spec.datatype == "BOOL" and not are_booleans(data):
        numbers: Array = np.frombuffer(data, np.uint8).reshape(shape)
        raise InvalidRequest(f"{_at_first(numbers > 1, numbers, spec)}: a byte of a BOOL must be 0 or 1")
    return np.frombuffer(data, spec.dtype).reshape(shape)


def _read_typed(tensor: ModelInferRequest.InferInputTensor, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Make an array of the elements in `contents`, as many as the shape takes, in the field of their datatype."""
    field = CONTENTS.get(spec.datatype)
    if field is None:
        raise InvalidRequest(
            f'input "{spec.name}" has datatype {spec.datatype}, which contents cannot hold; send its bytes in '
            "raw_input_contents"
        )
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f'input "{spec.name}" is in {other.name}, but datatype {spec.datatype} belongs in {field}'
            )
    values = getattr(tensor.contents, field)
    expected = math.prod(shape)
    if len(values) != expected:
        raise InvalidRequest(f"{_described(spec, shape)} takes {expected} elements, but {field} has {len(values)}")
    array: Array = np.empty(expected, spec.dtype)
    try:
        for start in range(0, expected, _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            array[start : start + _AT_ONCE] = np.fromiter(part, spec.dtype, len(part))
        return array.reshape(shape)
    except OverflowError:
        limits = np.iinfo(spec.dtype)
        numbers = np.array(values).reshape(shape)
        wrong = (numbers < limits.min) | (numbers > limits.max)
        raise InvalidRequest(
            f"{_at_first(wrong, numbers, spec)}: the range of {spec.datatype} is {limits.min}..{limits.max}"
        ) from None


def check_lengths(lengths: Array, spec: TensorSpec, size: int, sized: TensorSpec) -> None:
    """Check that lengths (batch) don't exceed the sequence axis, whose size the input `sized` sets."""
    wrong = np.flatnonzero((lengths < spec.least_length) | (lengths > size))
    if wrong.size:
        row = int(wrong[0])
        raise InvalidRequest(
            f'input "{spec.name}" is {int(lengths[row])} for row {row} of axis 0 (batch): expected a length from '
            f'{spec.least_length} to {_axis_name(sized, sized.axes.index(spec.lengths_of))} of "{sized.name}", which '
            f"is {size}"
        )


def with_valid_values(array: Array, spec: TensorSpec, lengths: Mapping[str, Array], *, allow_non_finite: bool) -> Array:
    """Return an input's array, with invalid values in the padding replaced by the spec's filler.

    Raises InvalidRequest for other values that aren't finite or within the spec's bounds. `lengths` holds an array
    (batch) by sequence axis. It is empty if every row has full length or if padding must be valid.
    """
    if spec.is_float:
        if (allow_non_finite and not spec.must_be_finite) or all_finite(array):
            return array
        valid = ~np.isnan(array) if spec.may_be_infinite else np.isfinite(array)
        rule = (
            "numbers must be finite (--allow-non-finite accepts others; if NaN has a meaning in the model, also "
            "publish it with allow_non_finite=True)"
        )
        if allow_non_finite:
            rule = (
                "numbers of this input must be finite, because onnxruntime would replace others by finite numbers, "
                "which PyTorch does not; publish the model with allow_non_finite=True"
            )
    else:
        if spec.bounds is None or are_within(array, *spec.bounds):
            return array
        low, high = spec.bounds
        valid = (array >= low) & (array < high)
        rule = f"{low}..{high - 1}"
    wrong = ~valid
    for axis, ends in lengths.items():
        if axis in spec.sequence_axes:
            wrong &= _before_ends(ends, spec, axis, array.shape)
    if wrong.any():
        raise InvalidRequest(f"{_at_first(wrong, array, spec)}: {rule}")
    return np.where(valid, array, array.dtype.type(spec.filler))


def is_within_bounds(data: bytes, spec: TensorSpec) -> bool:
    """Whether all integers of an input with bounds lie within them, from its bytes."""
    return spec.bounds is None or are_within(np.frombuffer(data, spec.dtype), *spec.bounds)


def all_finite(array: Array) -> bool:
    """Whether every number of a float array is finite. FP64 numbers with an infinite sum may count as not finite."""
    if array.size <= _FEW:
        return math.isfinite(sum(array.reshape(-1).tolist()))  # in double precision, so few FP32 cannot overflow
    return 0 not in np.isfinite(array).tobytes()  # `all` is one more call of numpy, and much slower


def are_within(array: Array, low: int, high: int) -> bool:
    """Whether all integers are at least `low` and below `high`."""
    if array.size <= _FEW:
        values: list[int] = array.reshape(-1).tolist()
        return min(values) >= low and max(values) < high
    return int(array.min()) >= low and int(array.max()) < high


def are_booleans(data: bytes) -> bool:
    """Whether all bytes are 0 or 1."""
    return not data.strip(b"\0\1")


def refuse_non_finite(request: CheckedRequest, outputs: Mapping[str, Array], signature: Signature) -> None:
    """Raise InvalidRequest for NaN or infinity, within lengths, in outputs that may hold them."""
    for name, array in outputs.items():
        spec = signature.outputs[name]
        if not spec.may_be_non_finite or all_finite(array):
            continue
        wrong = np.isnan(array) if spec.may_be_infinite else ~np.isfinite(array)
        for axis, lengths in signature.lengths.items():
            if axis in spec.sequence_axes and lengths.name in request.inputs:
                wrong &= _before_ends(request.inputs[lengths.name], spec, axis, array.shape)
        if wrong.any():
            raise InvalidRequest(
                f"{_at_first(wrong, array, spec, 'output')}, which PyTorch also returns for these inputs. Does the "
                "model divide by zero, take the logarithm of a number that is not positive, or compute with very "
                "large numbers? (--allow-non-finite sends such responses)"
            )


def _before_ends(ends: Array, spec: TensorSpec, axis: str, shape: tuple[int, ...]) -> Array:
    """Return whether each step is before its row's end, broadcastable to the shape."""
    at = spec.sequence_axes[axis]
    steps = np.arange(shape[at]).reshape([-1 if i == at else 1 for i in range(len(shape))])
    rows = ends.reshape([-1 if i == spec.batch_axis else 1 for i in range(len(shape))])
    before: Array = steps < rows
    return before


def _at_first(wrong: Array, array: Array, spec: TensorSpec, kind: str = "input") -> str:
    """Name the first wrong value and its place: `input "tokens" is 5000 at [0, 3] (batch 0, sequence 3)`."""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = ", ".join(f"{axis} {i}" for axis, i in zip(spec.axes, at, strict=True))
    return f'{kind} "{spec.name}" is {array[at]} at {list(at)} ({where})'


def _described(spec: TensorSpec, shape: tuple[int, ...]) -> str:
    return f'input "{spec.name}" of shape {list(shape)} ({", ".join(spec.axes)})'
