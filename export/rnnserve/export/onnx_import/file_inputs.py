"""Describe the inputs of an ONNX file as in a manifest, and find each input's batch axis by running the file.

Users supply facts that the file lacks (`Roles`). If facts are missing, one error message lists all of them.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import WrongArguments
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.tolerances import EAGER_ROUNDING
from rnnserve.export.tensors import Arrays, draw_inputs, sequence_axes, take_row
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES, datatype_of
from rnnserve.protos.differences import distances, scale
from rnnserve.protos.protocol_words import BATCH

ONE_ROW = (
    "rnnserve runs several rows at once: export the file again with a dynamic batch axis (dynamic_shapes of "
    "torch.onnx.export)"
)
"""What to do about a file that computes one row."""

FROZEN = (
    "Does the graph contain a fixed size? Must two axes have the same size? Then give them one name. Are values out "
    "of bounds?"
)
"""What to look for if a file doesn't run with sizes that it should take."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """Names and roles of tensors that an ONNX file doesn't contain."""

    # Names of axes, by tensor and position: {("input", 0): "batch"}.
    axes: Mapping[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    # For an input of lengths, the sequence axis that it measures: {"n": "sequence"}.
    lengths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # The input that each output becomes in the next request: {"h_n": "h_0"}.
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # The lowest value of an integer input, and one more than the highest: {"tokens": (0, 5000)}.
    integers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    # The smallest and the largest size of a dynamic axis that the model accepts: {"sequence": (1, 64)}.
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    # The size of an axis whose size never changes, such as the samples in a chunk: {"sequence": 576}.
    fixed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    # Values of inputs with the same value in every request, as text: {"sr": "16000"}.
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Sequence[str] = ()  # the outputs to publish, in this order, or empty for all
    labels: Sequence[str] = ()  # names of the classes
    fold: str = ""  # the step axis to add to a one-step file, or empty for none
    # An axis of an input, and how many of its last values the next step repeats: {"input": (-1, 64)}.
    overlaps: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


def ask(questions: Mapping[str, str]) -> None:
    """Raise one error with all facts that the user must supply: the reason by option, such as `--constant sr=16000`."""
    if questions:
        options, reasons = " ".join(questions), "; ".join(questions.values())
        raise WrongArguments(
            f"the file does not contain enough information. Add these options with your values: {options} ({reasons})"
        )


_SEQUENCE = "sequence"
_LENGTHS = re.compile(r"len", re.IGNORECASE)  # lengths, seq_len, sequence_length
_NO_NAMES = re.compile(r"\?|-1|none|unk__\d+|(p2o\.)?dynamicdimension\.\d+", re.IGNORECASE)
"""Placeholder names that tf2onnx and paddle2onnx write for dynamic axes."""

# Operators whose output has the same values as their input.
_FORMS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_GUESSED = (0, 2)  # range of integers until the user passes a range, and of lengths without a sequence axis
_MOST_COUNTED = (1 << 31) - 1  # one above the highest value of integer states, unless the user passes a range


@dataclasses.dataclass(frozen=True)
class FileInput:
    """An input of a file."""

    tensor: manifest_pb2.Tensor  # the batch has no name yet; unnamed dynamic axes have an empty name
    candidates: tuple[int, ...]  # positions of possible batch axes
    is_settled: bool  # whether the file or the user names the batch axis

    @property
    def is_called_batch(self) -> bool:
        """Whether the file or the user names a dynamic axis the batch. If so, rows may depend on each other."""
        return self.is_settled and self.tensor.axes[self.candidates[0]].size == DYNAMIC


def describe_inputs(
    inputs: Sequence[FileInput], batches: Mapping[str, int], fixed: Mapping[str, int]
) -> list[manifest_pb2.Tensor]:
    """Describe the inputs, given the position of each batch axis and the sizes of fixed axes."""
    described = []
    for each in inputs:
        tensor = manifest_pb2.Tensor()
        tensor.CopyFrom(each.tensor)
        unnamed = 0
        for at, axis in enumerate(tensor.axes):
            if at == batches[tensor.name]:
                axis.name, axis.size = BATCH, DYNAMIC
                continue
            if not axis.name:
                unnamed += 1
                axis.name = _SEQUENCE if unnamed == 1 else f"{_SEQUENCE}_{unnamed}"
            if axis.size == DYNAMIC and axis.name != BATCH:
                axis.size = fixed.get(axis.name, DYNAMIC)
        described.append(tensor)
    axes = sequence_axes(described)
    for tensor in described:
        if tensor.default == manifest_pb2.DEFAULT_FULL_LENGTH and tensor.lengths_of not in axes:
            tensor.lengths_of = next(iter(axes), "")
            if not tensor.lengths_of:
                tensor.integers.low, tensor.integers.high = _GUESSED
    return described


def check_lengths(inputs: Sequence[manifest_pb2.Tensor], roles: Roles) -> None:
    """Raise an error if an input holds lengths but its sequence axis is unknown."""
    axes = sequence_axes(inputs)
    for tensor in inputs:
        given = roles.lengths.get(tensor.name)
        if given is not None and given not in axes:
            raise WrongArguments(
                f"--lengths {tensor.name}={given}: expected the name of a sequence axis, whose steps the lengths "
                f"count; the sequence axes are {', '.join(axes) or 'none'}"
            )
        if given is None and tensor.default == manifest_pb2.DEFAULT_FULL_LENGTH and len(axes) != 1:
            raise WrongArguments(
                f'input "{tensor.name}" may hold lengths, but the axis is not known. Use --lengths '
                f"{tensor.name}=AXIS, with one of {', '.join(axes) or 'no sequence axis'}. If the input holds other "
                f"numbers, use --integers {tensor.name}=LOW:HIGH; for a state, --state OUTPUT={tensor.name}"
            )


def check_names(model: ir.Model, roles: Roles) -> None:
    """Raise an error if roles name unknown tensors, because these roles would have no effect."""
    inputs, outputs = ([value.name or "" for value in of] for of in (model.graph.inputs, model.graph.outputs))
    given: Sequence[tuple[str, Mapping[str, object] | Sequence[str], Sequence[str]]] = (
        ("--axis", [name for name, _ in roles.axes], [*inputs, *outputs]),
        ("--constant", roles.constants, inputs),
        ("--lengths", roles.lengths, inputs),
        ("--integers", roles.integers, inputs),
        ("--state", list(roles.states.values()), inputs),
        ("--state", roles.states, outputs),
    )
    for option, names, known in given:
        for name in names:
            if name not in known:
                raise WrongArguments(f'{option} names "{name}"; expected one of {", ".join(known)}')


def put_constants(model: ir.Model, constants: Mapping[str, str]) -> None:
    """Replace inputs by constants."""
    for value in [value for value in model.graph.inputs if value.name in constants]:
        value.const_value = ir.tensor(_constant(value, constants[value.name or ""]), name=value.name)
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)
    if not model.graph.inputs:
        raise WrongArguments("--constant sets every input; at least one input must come from requests")


def read_inputs(model: ir.Model, roles: Roles) -> tuple[list[FileInput], dict[str, str]]:
    """Read the inputs of a file whose constants are already set. Returns the inputs, and questions to the user.

    Requests can't send an input without axes (one number for all rows), so the user must set its value.
    """
    described = {value: _described(value, roles) for value in model.graph.inputs}
    if not any(tensor.axes for tensor in described.values()):
        raise WrongArguments(f"all inputs are single numbers, so the file computes only one row; {ONE_ROW}")
    inputs, questions = [], dict[str, str]()
    for value, tensor in described.items():
        final = next((final for final, name in roles.states.items() if name == tensor.name), None)
        if not tensor.axes and final is not None:
            raise WrongArguments(
                f'input "{tensor.name}", which continues from "{final}", is a single number for the whole batch. '
                "Sequences of different lengths share a batch, so export the file again with a number for each row, "
                f"({BATCH},)"
            )
        if not tensor.axes:
            dtype = DTYPES[tensor.datatype]
            why = f'input "{tensor.name}" is a single number ({dtype}) for the whole batch, so its value is needed'
            questions[f"--constant {tensor.name}=VALUE"] = why
            continue
        if _holds_lengths(tensor, roles):
            tensor.lengths_of = roles.lengths.get(tensor.name, "")
            tensor.default = manifest_pb2.DEFAULT_FULL_LENGTH
        elif DTYPES[tensor.datatype].kind in "iu":
            counted = (0, min(_MOST_COUNTED, int(np.iinfo(DTYPES[tensor.datatype]).max))) if final else None
            bounds = roles.integers.get(tensor.name) or _rows_of_tables(value) or counted
            tensor.integers.low, tensor.integers.high = bounds or _GUESSED
            if bounds is None:
                why = f'input "{tensor.name}" is {tensor.datatype}, but the file does not contain its range'
                questions[f"--integers {tensor.name}=LOW:HIGH"] = f"{why}, with HIGH one above the highest value"
        inputs.append(_with_candidates(tensor, roles))
    return inputs, questions


def _described(value: ir.Value, roles: Roles) -> manifest_pb2.Tensor:
    """Describe the datatype and axes of an input. Raises an error if requests can't send such an input."""
    is_tensor = isinstance(value.type, ir.TensorType) and value.dtype != ir.DataType.UNDEFINED
    datatype = datatype_of(value.dtype.numpy()) if is_tensor and value.dtype is not None else None
    if datatype is None:
        shown = value.dtype.name.lower() if is_tensor and value.dtype is not None else "no tensor"
        raise WrongArguments(f'input "{value.name}" is {shown}; expected booleans, integers or floats')
    tensor = manifest_pb2.Tensor(name=value.name or "", datatype=datatype)
    for at, dim in enumerate(value.shape or ()):
        given = roles.axes.get((tensor.name, at), "")
        if isinstance(dim, int) and dim > 0:
            tensor.axes.add(name=given or f"axis {at}", size=dim)
        else:
            tensor.axes.add(name=given or _name_of(dim), size=DYNAMIC)
    return tensor


def _name_of(dim: int | ir.SymbolicDim) -> str:
    written = "" if isinstance(dim, int) else str(dim.value or "")
    if _NO_NAMES.fullmatch(written):
        return ""
    return BATCH if written.lower().startswith(BATCH) else written


def _with_candidates(tensor: manifest_pb2.Tensor, roles: Roles) -> FileInput:
    """Find the possible batch axes: axes named so, or else dynamic axes and axes of size 1."""
    by_user = [at for at in range(len(tensor.axes)) if roles.axes.get((tensor.name, at)) == BATCH]
    called = by_user or [at for at, axis in enumerate(tensor.axes) if axis.name == BATCH]
    if called:
        size = tensor.axes[called[0]].size
        if size > 1:
            raise WrongArguments(
                f"--axis {tensor.name}.{called[0]}={BATCH}: this axis has the fixed size {size}, because the file was "
                "exported for one batch size. Export it again with a dynamic batch axis"
            )
        return FileInput(tensor, tuple(called[:1]), is_settled=True)
    free = [at for at, axis in enumerate(tensor.axes) if axis.size in (1, DYNAMIC)]
    candidates = tuple(at for at in free if (tensor.name, at) not in roles.axes)
    if not candidates:
        shown = ", ".join(axis.name if axis.size == DYNAMIC else str(axis.size) for axis in tensor.axes)
        option = (
            f", or name the axis: --axis {tensor.name}.AT={BATCH}, AT of {', '.join(map(str, free))}" if free else ""
        )
        raise WrongArguments(f'input "{tensor.name}" ({shown}) has no axis for the batch: {ONE_ROW}{option}')
    return FileInput(tensor, candidates, is_settled=False)


def _holds_lengths(tensor: manifest_pb2.Tensor, roles: Roles) -> bool:
    """Whether an input holds lengths, according to the user's roles or its name."""
    fits = len(tensor.axes) == 1 and tensor.datatype in ("INT32", "INT64")
    if tensor.name in roles.lengths and not fits:
        axis = roles.lengths[tensor.name]
        raise WrongArguments(f"--lengths {tensor.name}={axis}: lengths must be INT64 or INT32 with the axes (batch)")
    return tensor.name in roles.lengths or (
        fits and bool(_LENGTHS.search(tensor.name)) and tensor.name not in (*roles.integers, *roles.states.values())
    )


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """List the nodes that read a value or a reshaped copy of it, each with the position of that input."""
    for node, at in value.uses():
        if node.op_type in _FORMS and at == 0:
            yield from _readers(node.outputs[0])
        else:
            yield node, at


def _rows_of_tables(value: ir.Value) -> tuple[int, int] | None:
    """Return the range of valid indices for all tables that an input indexes. None if it indexes no table."""
    rows = []
    for node, at in _readers(value):
        table = _tensor(node, 0) if node.op_type == "Gather" and at == 1 else None
        if table is not None:
            rows.append(table.shape.numpy()[node.attributes.get_int("axis", 0)])
    return (0, min(rows)) if rows else None


def _tensor(node: ir.Node, at: int) -> ir.TensorProtocol | None:
    """Return the constant that a node reads at an input. None if the input isn't constant."""
    value = node.inputs[at]
    return None if value is None else ir.convenience.get_const_tensor(value)


def _constant(value: ir.Value, text: str) -> npt.NDArray[Any]:
    """Parse the user's value for an input."""
    option = f"--constant {value.name}={text}"
    dtype = DTYPES[_described(value, Roles()).datatype]
    shape = tuple(dim if isinstance(dim, int) else 0 for dim in value.shape or ())
    if any(size < 1 for size in shape):
        raise WrongArguments(f"{option}: this input has a dynamic axis, so only a request can set its values")
    try:
        if dtype.kind == "b":
            number: float = {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        else:
            number = int(text) if dtype.kind in "iu" else float(text)
        return np.full(shape, np.array(number, dtype))
    except (KeyError, ValueError, OverflowError) as error:
        raise WrongArguments(f"{option}: expected one number of {dtype}") from error


_ROWS, _STEPS = 3, 8
"""Rows of the trial, and the size of every other dynamic axis, as far as the user's sizes allow."""
_MOST = 48  # most choices of batch axes to try
_MOST_OPENINGS = 16  # most ways to make frozen shapes dynamic to try
_REFUSED = 200  # most characters of onnxruntime's reason in a message


Opening = Mapping[tuple[int, ...], int]
"""The position of the batch in shapes that the graph's Reshapes have as constants, such as 1 in (1, 1, 64)."""


def openings(model: ir.Model) -> Iterator[Opening]:
    """List the ways to make a batch of 1 dynamic that the exporter froze in shapes. The first way changes nothing."""
    yield {}
    nodes = (node for node in model.graph if node.op_type == "Reshape")
    frozen = [shape for shape in dict.fromkeys(map(_frozen_shape, nodes)) if shape is not None]
    places = ([at for at, size in enumerate(shape) if size == 1] for shape in frozen)
    choices = itertools.product(*places) if frozen else ()
    yield from (dict(zip(frozen, chosen, strict=True)) for chosen in itertools.islice(choices, _MOST_OPENINGS))


def _frozen_shape(node: ir.Node) -> tuple[int, ...] | None:
    """Return the shape that a Reshape has as a constant. None if its batch can't be one of the sizes."""
    tensor = _tensor(node, 1)
    shape = () if tensor is None else tuple(tensor.numpy().ravel().tolist())
    return shape if 1 in shape and -1 not in shape else None


def open_shapes(model: ir.Model, opening: Opening) -> None:
    """Make the batch in frozen shapes dynamic, in place."""
    opened: dict[tuple[int, ...], ir.Value] = {}
    for node in model.graph:
        shape = _frozen_shape(node) if node.op_type == "Reshape" else None
        if shape is None or shape not in opening:
            continue
        if shape not in opened:
            name = f"any_batch_{'_'.join(map(str, shape))}"
            sizes = np.array(shape)
            sizes[opening[shape]] = -1
            opened[shape] = ir.Value(name=name, const_value=ir.tensor(sizes, name=name))
            model.graph.register_initializer(opened[shape])
        node.replace_input_with(1, opened[shape])


def find_batch(
    inputs: Sequence[FileInput], opened: Iterable[tuple[Opening, OnnxRunner]], roles: Roles
) -> tuple[Opening, dict[str, int]]:
    """Find the position of each input's batch axis, and how to make a batch of 1 dynamic that is frozen in shapes.

    `opened` has the file with every possible batch axis made dynamic, for each of several ways to open its shapes.
    Each row of a batch must have the same result as on its own, unless the file or the user names every batch axis. In
    that case rows may depend on each other, and the version is still served.
    """
    is_named = all(each.is_called_batch for each in inputs)
    refused = change = ""
    choices = ((*each, batches) for each in opened for batches in _choices(inputs))
    for opening, run, batches in itertools.islice(choices, _MOST):
        described = describe_inputs(inputs, batches, roles.fixed)
        wanted = {**dict.fromkeys(sequence_axes(described), _STEPS), BATCH: _ROWS}
        sizes = {axis: int(np.clip(size, *roles.sizes.get(axis, (1, size)))) for axis, size in wanted.items()}
        drawn = draw_inputs(described, np.random.default_rng(0), sizes)
        try:
            alone = [run(take_row(described, drawn, row)) for row in range(sizes[BATCH])]
        except RuntimeError as error:
            refused = refused or str(error)
            continue
        found = _change_by_rows(run, drawn, alone, may_depend=is_named)
        if not found:
            return opening, batches
        change = change or f"with {sizes[BATCH]} rows, {found}"
    if change:
        raise WrongArguments(f"the file computes one row at a time; {ONE_ROW} ({change})")
    first = describe_inputs(inputs, next(_choices(inputs)), roles.fixed)
    free = "".join(f" --size {axis}=SIZE" for axis in sequence_axes(first) if axis not in roles.sizes)
    options = f"Name the sizes that the model accepts:{free}. " if free else ""
    raise WrongArguments(
        f"onnxruntime does not run it with one row of the tried sizes. {options}{FROZEN} {refused[:_REFUSED]}"
    )


def _choices(inputs: Sequence[FileInput]) -> Iterator[dict[str, int]]:
    """List the choices of a batch axis per input. Inputs with the same axes always get the same choice."""
    groups: dict[object, list[FileInput]] = {}
    for each in inputs:
        sizes = tuple(axis.size for axis in each.tensor.axes)
        groups.setdefault((sizes, each.candidates), []).append(each)
    for chosen in itertools.product(*(members[0].candidates for members in groups.values())):
        pairs = zip(groups.values(), chosen, strict=True)
        yield {each.tensor.name: at for members, at in pairs for each in members}


def _change_by_rows(run: OnnxRunner, inputs: Arrays, alone: Sequence[Arrays], *, may_depend: bool) -> str:
    """Describe how a batch's results differ from those of its rows alone. Empty if they are the same."""
    try:
        together = run(inputs)
    except RuntimeError as error:
        return str(error)
    for name, found in together.items():
        rows = [row[name] for row in alone]
        shape = rows[0].shape
        is_alike = all(row.shape == shape for row in rows)
        # The batch may lie along any axis of size 1 in a single row's result.
        ways = [np.concatenate(rows, at) for at, size in enumerate(shape) if is_alike and size == 1]
        expected = next((array for array in ways if array.shape == found.shape), None)
        if expected is None:
            hint = ": publish only the other outputs (--output)?" if found.shape == shape and len(together) > 1 else ""
            return f'"{name}" has the shape {list(found.shape)}, but {list(shape)} for a single row{hint}'
        limit = EAGER_ROUNDING * scale(expected) if expected.dtype.kind == "f" else 0
        if not (may_depend or float(distances(found, expected).max(initial=0.0)) <= limit):
            return f'"{name}" differs from the results of single rows'
    return ""
