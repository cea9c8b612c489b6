"""Check the tensors of a module or a file, described in the manifest's form."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.publication import DYNAMIC, InputDescription
from rnnserve.export.errors import WrongArguments
from rnnserve.export.tensors import Arrays, axis_of, lengths_inputs, sequence_axes, shape_of, size_limits, sizes_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import fill_left_out, infinite_defaults

Tensors = Sequence[manifest_pb2.Tensor]

_LARGEST_BATCH, _LARGEST_SEQUENCE = 33, 128  # in verification, if the description doesn't limit them


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """The inputs and outputs of a model."""

    name: str
    inputs: Tensors  # in the manifest's form, in order
    outputs: Tensors
    sizes: Mapping[str, tuple[int, int]]  # the smallest and largest size of each dynamic axis in verification
    labels: Sequence[str] = ()  # names of the classes
    samples: Sequence[Arrays] = ()  # the user's inputs, completed: every input by name
    checkpoint_sha256: str = ""  # digest of the weights' file, if there is one
    allow_non_finite: bool = False  # whether NaN and infinity are ordinary values of the model
    # Defaults of omitted inputs, unless they are zeros or full lengths. Of size 1 along dynamic axes.
    defaults: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)

    @property
    def infinite_inputs(self) -> frozenset[str]:
        """Names of the states that begin with infinity."""
        return infinite_defaults(self.defaults)

    @property
    def sequence_axes(self) -> list[str]:
        """Names of the inputs' dynamic axes except the batch, in the order of their first appearance."""
        return sequence_axes(self.inputs)

    @property
    def lengths(self) -> dict[str, str]:
        """The input that holds the lengths of a sequence axis, by axis."""
        return lengths_inputs(self.inputs)

    @property
    def size_limits(self) -> dict[str, tuple[int, int | None]]:
        """The smallest and largest size that the model takes, for each dynamic axis. None for no largest size."""
        return size_limits(self.inputs)


def check_inputs(inputs: Tensors, given: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Check that inputs can be batched and that their axes fit together, and write the user's sizes into them.

    Returns the smallest and largest size of each dynamic axis in verification, within the sizes that the model takes.
    """
    _check_axes(inputs)
    _limit_sizes(inputs, given)
    return tried_sizes(inputs)


def tried_sizes(inputs: Tensors) -> dict[str, tuple[int, int]]:
    """Return the smallest and largest size of each dynamic axis in verification."""
    sizes = {}
    for axis, (low, high) in size_limits(inputs).items():
        largest = _LARGEST_BATCH if axis == BATCH else max(_LARGEST_SEQUENCE, low)
        sizes[axis] = (low, high or largest)
    return {axis: sizes[axis] for axis in (BATCH, *sequence_axes(inputs))}


def _check_axes(inputs: Tensors) -> None:
    """Check that each input has a batch, and that the roles of axes fit together."""
    fixed = {axis.name for tensor in inputs for axis in tensor.axes if axis.size != DYNAMIC}
    axes = sequence_axes(inputs)
    if not any(axis_of(tensor, BATCH) is not None for tensor in inputs):
        raise WrongArguments(
            f'no input has the axis "{BATCH}", so requests could not share a batch. '
            "PyTorch's cells, layers and most operators accept one row or many. Describe each input with "
            f'"{BATCH}", Floats("{BATCH}", 3), and return one row of results for each row'
        )
    for tensor in inputs:
        if axis_of(tensor, BATCH) is None:
            raise WrongArguments(
                f'input "{tensor.name}" has no axis "{BATCH}", so requests could not share a batch. Give it a batch '
                "axis. If its value is the same in every request, make it a constant instead: "
                f'constants={{"{tensor.name}": …}}. If forward takes one row at a time, call it for each row with '
                "rnnserve.export.scan"
            )
        if tensor.lengths_of and tensor.lengths_of not in axes:
            raise WrongArguments(
                f'input "{tensor.name}" holds lengths of "{tensor.lengths_of}", which is not a dynamic axis; the '
                f"dynamic axes are {', '.join(axes) or 'none'}"
                + (f'. Write Lengths("{axes[0]}")' if len(axes) == 1 else "")
            )
    twice = [axis for axis in axes if axis in fixed]
    if twice:
        raise WrongArguments(f'the axis "{twice[0]}" is dynamic in one input and fixed in another. Use two names')
    lengths = [tensor.lengths_of for tensor in inputs if tensor.lengths_of]
    if len(set(lengths)) != len(lengths):
        raise WrongArguments(f"two inputs hold the lengths of the same axis: {', '.join(lengths)}")


def _limit_sizes(inputs: Tensors, given: Mapping[str, tuple[int, int]]) -> None:
    """Write the smallest and largest size of dynamic axes into the inputs."""
    axes = [BATCH, *sequence_axes(inputs)]
    unknown = sorted(set(given) - set(axes))
    if unknown:
        raise WrongArguments(f"sizes names the axes {unknown}; the dynamic axes are {axes}")
    for name, bounds in given.items():
        if len(bounds) != 2 or None in bounds or not 1 <= bounds[0] <= bounds[1]:
            raise WrongArguments(
                f'sizes["{name}"] is {bounds}; expected the smallest and the largest size, both at least 1. A version '
                "needs a largest size, because servers refuse larger requests: (2, 1000)"
            )
        if name == BATCH and bounds[0] == bounds[1]:
            raise WrongArguments(f'sizes["{BATCH}"] is {bounds}, a single size: {_one_batch(bounds[0])}')
        for axis in (axis for tensor in inputs for axis in tensor.axes if axis.name == name and axis.size == DYNAMIC):
            axis.smallest, axis.largest = bounds


def _one_batch(size: int) -> str:
    return (
        "the export finds the batch axis of each output by changing the number of rows. If the module accepts other "
        f'numbers of rows, add sizes={{"{BATCH}": ({size}, {size + 7})}}; then each request runs alone. If it accepts '
        f"exactly {size}, for example because of x[0] or squeeze(), make it work on every row: x[:, …], squeeze(dim)"
    )


def check_states(states: Mapping[str, str], inputs: Tensors, outputs: Tensors) -> None:
    """Check which output continues as which input, mark these outputs, and name their fixed axes as in the input."""
    by_name = {tensor.name: tensor for tensor in inputs}
    known = {tensor.name: tensor for tensor in outputs}
    for final, initial in states.items():
        for kind, name, there in (("output", final, known), ("input", initial, by_name)):
            if name not in there:
                raise WrongArguments(f'states names the {kind} "{name}"; the {kind}s are {", ".join(there)}')
        output, input = known[final], by_name[initial]
        if [axis.size for axis in output.axes] != [axis.size for axis in input.axes]:
            raise WrongArguments(
                f'states: "{final}" continues as "{initial}", but has the axes {[a.size for a in output.axes]}, and '
                f"the input has {[a.size for a in input.axes]}"
            )
        for at, (axis, of_input) in enumerate(zip(output.axes, input.axes, strict=True)):
            if axis.size == DYNAMIC and axis.name != of_input.name:
                raise WrongArguments(
                    f'states: "{final}" continues as "{initial}", but its axis {at} is not as large as the input\'s, '
                    f'"{of_input.name}". A state must keep its size. Give a growing cache a fixed size, for example '
                    "its last steps. Or leave it out of states, and each request sends its own"
                )
        output.continues_as = initial
        for axis, of_input in zip(output.axes, input.axes, strict=True):
            axis.name = of_input.name
    if len(set(states.values())) != len(states):
        raise WrongArguments(f"states: two outputs continue as the same input: {dict(states)}")


def name_classes(labels: Sequence[str], outputs: Tensors) -> None:
    """Name an axis "classes": the last axis of the first output with as many values as there are labels."""
    if not labels:
        return
    if isinstance(labels, str) or len(set(labels)) != len(labels) or not all(labels):
        raise WrongArguments(f"labels is {labels!r}; expected a different name for each class")
    for tensor in outputs:
        if tensor.axes[-1].size == len(labels) and not tensor.continues_as and tensor.datatype.startswith("FP"):
            tensor.axes[-1].name = "classes"
            return
    shapes = "; ".join(f'"{t.name}" {[axis.size for axis in t.axes]}' for t in outputs)
    raise WrongArguments(f"labels has {len(labels)} names, but no output has a last axis of that size: {shapes}")


def complete_sample(
    number: int,
    sample: Mapping[str, Any],
    inputs: Tensors,
    defaults: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> Arrays:
    """Check a user's sample, and fill in omitted lengths and states, as servers do."""
    known = [tensor.name for tensor in inputs]
    unknown = [name for name in sample if name not in known]
    if unknown:
        raise WrongArguments(f'samples[{number}] has "{unknown[0]}"; the inputs are {", ".join(known)}')
    arrays = {
        tensor.name: _cast(f'samples[{number}]["{tensor.name}"]', np.asarray(sample[tensor.name]), tensor)
        for tensor in inputs
        if tensor.name in sample
    }
    sizes, limits = sizes_of(inputs, arrays), size_limits(inputs)
    for axis, size in sizes.items():
        low, high = limits[axis]
        if size < low or (high is not None and size > high):
            raise WrongArguments(f'samples[{number}] has {size} as the size of "{axis}"; sizes allows {low} to {high}')
    for tensor in inputs:
        if tensor.name not in arrays:
            if tensor.default == manifest_pb2.DEFAULT_REQUIRED:
                why = tensor.required_because or "it is neither a state nor lengths"
                raise WrongArguments(f'samples[{number}] lacks the required input "{tensor.name}": {why}')
            arrays[tensor.name] = fill_left_out([tensor], {}, defaults, sizes)[tensor.name]
        array, expected = arrays[tensor.name], shape_of(tensor, sizes)
        if array.shape != expected:
            raise WrongArguments(
                f'samples[{number}]["{tensor.name}"] has shape {list(array.shape)}; expected {list(expected)}, '
                f"({', '.join(axis.name for axis in tensor.axes)})"
            )
        if tensor.lengths_of:
            shortest, size = limits[tensor.lengths_of][0], sizes[tensor.lengths_of]
            if not ((array >= shortest) & (array <= size)).all():
                raise WrongArguments(f'samples[{number}]["{tensor.name}"] has a length outside {shortest}..{size}')
    return {name: arrays[name] for name in known}


def _cast(what: str, given: npt.NDArray[Any], tensor: manifest_pb2.Tensor) -> npt.NDArray[Any]:
    """Convert an array to the dtype of its input, and check that a server would accept its values."""
    dtype = DTYPES[tensor.datatype]
    cast = given.astype(dtype)
    if not np.array_equal(cast, given) and not (given.dtype.kind == dtype.kind == "f"):
        raise WrongArguments(f"{what} is {given.dtype}; expected {dtype}")
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        raise WrongArguments(f"{what} has a value that is not finite; expected finite numbers")
    low, high = tensor.integers.low, tensor.integers.high
    if tensor.HasField("integers") and not ((cast >= low) & (cast < high)).all():
        raise WrongArguments(f"{what} has a value outside {low}..{high - 1}")
    return cast


def read_initial_values(described: Mapping[str, InputDescription], states: Collection[str]) -> Arrays:
    """Read the initial values of the descriptions, including zeros. They have size 1 along dynamic axes."""
    given = {name: what for name, what in described.items() if what.initial is not None}
    no_states = [name for name in given if name not in states]
    if no_states:
        raise WrongArguments(
            f'inputs["{no_states[0]}"] has initial=, but is not a state. Name the output that it continues: '
            f'states={{"…": "{no_states[0]}"}}'
        )
    return {name: _of_one_row(name, what) for name, what in given.items()}


def _of_one_row(name: str, what: InputDescription) -> npt.NDArray[Any]:
    # `detach`, because it may be a parameter of the module.
    array = np.asarray(what.initial.detach() if hasattr(what.initial, "detach") else what.initial)
    shape = tuple(max(size, 1) for _, size in what.axes)
    said = f'inputs["{name}"] has initial={what.initial!r}'
    try:
        row = np.broadcast_to(array, shape)
    except ValueError as error:
        raise WrongArguments(
            f'inputs["{name}"] has initial= of shape {list(array.shape)}; expected {list(shape)}, '
            f"({', '.join(axis for axis, _ in what.axes)}): one row, shared by all sequences"
        ) from error
    if array.dtype.kind not in "biuf":
        raise WrongArguments(f"{said}; expected a number or an array of numbers")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise WrongArguments(f'inputs["{name}"] has initial= with NaN; expected numbers, or infinities')
    with np.errstate(invalid="ignore", over="ignore"):
        cast = np.ascontiguousarray(row.astype(what.dtype))
    if what.dtype.kind != "f" and not np.array_equal(cast, row):
        raise WrongArguments(f"{said}; expected {what.dtype}")
    has_bounds = what.dtype.kind in "iu" and what.low is not None and what.high is not None
    if has_bounds and not ((cast >= what.low) & (cast < what.high)).all():
        raise WrongArguments(f"{said}; expected values from {what.low} to below {what.high}")
    return cast
