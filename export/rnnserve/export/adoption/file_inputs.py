"""The inputs of an ONNX file, described as a manifest does; and which axis of each is the batch, found by trial.

A user says what the file doesn't: `Roles`. A message asks for all that is missing at once.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

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
    "are sizes frozen in the graph, are two axes always of one size (give them one name), or are values out of bounds?"
)
"""What to look for if a file doesn't run with sizes that it should take."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """Names and roles that an ONNX file does not hold.

    Attributes:
        axes: Names of axes, by tensor and position: {("input", 0): "batch"}.
        lengths: The sequence axis whose steps an input counts: {"n": "sequence"}.
        states: Which output continues as which input: {"h_n": "h_0"}.
        integers: The lowest value of an integer input, and one more than the highest: {"tokens": (0, 5000)}.
        sizes: The smallest and the largest size of a dynamic axis that the model takes: {"sequence": (1, 64)}.
        fixed: The size of an axis that never has another one, such as samples of a chunk: {"sequence": 576}.
        constants: Values of inputs that are the same for all requests, as text: {"sr": "16000"}.
        outputs: Which outputs are published, in this order; empty for all.
        labels: Names of the classes.
        fold: The axis of steps that a file of one step gets; empty for none.
        overlaps: An axis of an input, and how many values at its end in one step begin the next: {"input": (-1, 64)}.
    """

    axes: Mapping[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    lengths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    integers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Sequence[str] = ()
    labels: Sequence[str] = ()
    fold: str = ""
    overlaps: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Question:
    """Something that a file does not say."""

    why: str  # what is not known
    option: str  # the option that answers it, ready to paste, such as `--constant sr=16000`
    hint: str = ""  # what else helps to answer it


def ask(questions: Sequence[Question]) -> None:
    """Ask all questions in one message."""
    if len(questions) == 1:
        (only,) = questions
        raise WrongArguments(f"{only.why}: {only.option}{only.hint}")
    if questions:
        options = " ".join(dict.fromkeys(question.option for question in questions))
        reasons = "; ".join(f"{question.why}{question.hint}" for question in questions)
        raise WrongArguments(f"the file does not say enough. Add, with your values: {options} ({reasons})")


_STEPS = "sequence"
_LENGTHS = re.compile(r"len", re.IGNORECASE)  # lengths, seq_len, sequence_length
_NO_NAMES = re.compile(r"\?|-1|none|unk__\d+|(p2o\.)?dynamicdimension\.\d+", re.IGNORECASE)
"""What tf2onnx and paddle2onnx write for an axis of any size."""

_FORMS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})  # keep the numbers
_COMPARISONS = frozenset({"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"})
_SHOWN = 4  # numbers with which the file compares an input
_GUESSED = (0, 2)  # integers to try a file with, until the user says which it takes


@dataclasses.dataclass(frozen=True)
class FileInput:
    """An input of a file."""

    tensor: manifest_pb2.Tensor  # the batch is not named yet, and dynamic axes without a name have an empty one
    candidates: tuple[int, ...]  # positions of the axes that may be the batch
    is_settled: bool  # whether the file or the user says which it is

    @property
    def is_called_batch(self) -> bool:
        """Whether the file or the user calls an axis of any size the batch: then rows may depend on each other."""
        return self.is_settled and self.tensor.axes[self.candidates[0]].size == DYNAMIC


def describe_inputs(
    inputs: Sequence[FileInput], batches: Mapping[str, int], fixed: Mapping[str, int]
) -> list[manifest_pb2.Tensor]:
    """Describe inputs for a choice of their batch axes, with axes of a fixed size."""
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
                axis.name = _STEPS if unnamed == 1 else f"{_STEPS}_{unnamed}"
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
    """Refuse inputs of lengths of which it is not known which sequence axis they count."""
    axes = sequence_axes(inputs)
    for tensor in inputs:
        given = roles.lengths.get(tensor.name)
        if given is not None and given not in axes:
            raise WrongArguments(
                f"--lengths {tensor.name}={given}: lengths count the steps of a sequence axis; there are "
                f"{', '.join(axes) or 'none'}"
            )
        if given is None and tensor.default == manifest_pb2.DEFAULT_FULL_LENGTH and len(axes) != 1:
            raise WrongArguments(
                f'input "{tensor.name}" may hold lengths, but of which axis? Say --lengths {tensor.name}=AXIS, with '
                f"one of {', '.join(axes) or 'no sequence axis'}; or, if not, --integers {tensor.name}=LOW:HIGH"
            )


def check_names(model: ir.Model, roles: Roles) -> None:
    """Refuse roles of unknown tensors, which would have no effect."""
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
                raise WrongArguments(f'{option} names "{name}"; there are {", ".join(known)}')


def put_constants(model: ir.Model, constants: Mapping[str, str]) -> None:
    """Set inputs to values, and remove them from the inputs."""
    for value in [value for value in model.graph.inputs if value.name in constants]:
        value.const_value = ir.tensor(_constant(value, constants[value.name or ""]), name=value.name)
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)
    if not model.graph.inputs:
        raise WrongArguments("with these constants no input is left")


def read_inputs(model: ir.Model, roles: Roles) -> tuple[list[FileInput], list[Question]]:
    """Read the inputs of a file whose constants are in place, and what to ask the user.

    So that the file can be tried all the same, and all questions be asked at once, a number that is the same for all
    rows gets a guess in the file: one that the file compares it with, if there is any.
    """
    described = {value: _described(value, roles) for value in model.graph.inputs}
    if not any(tensor.axes for tensor in described.values()):
        raise WrongArguments(f"all inputs are single numbers, so the file computes one row; {ONE_ROW}")
    inputs, questions = [], []
    for value, tensor in described.items():
        if not tensor.axes:
            compared = list(dict.fromkeys(_compared_with(value)))
            questions.append(_which_number(tensor, compared))
            put_constants(model, {tensor.name: next(iter(compared), "1")})
            continue
        if _holds_lengths(tensor, roles):
            tensor.lengths_of = roles.lengths.get(tensor.name, "")
            tensor.default = manifest_pb2.DEFAULT_FULL_LENGTH
        elif DTYPES[tensor.datatype].kind in "iu":
            bounds = roles.integers.get(tensor.name) or _rows_of_tables(value)
            tensor.integers.low, tensor.integers.high = bounds or _GUESSED
            if bounds is None:
                why = f'input "{tensor.name}" is {tensor.datatype}, and the file does not say which values it takes'
                option = f"--integers {tensor.name}=LOW:HIGH"
                questions.append(Question(why, option, ", where HIGH is one more than the highest"))
        inputs.append(_with_candidates(tensor, roles))
    return inputs, questions


def _described(value: ir.Value, roles: Roles) -> manifest_pb2.Tensor:
    """Describe the datatype and axes of an input, and refuse one that requests cannot send."""
    is_tensor = isinstance(value.type, ir.TensorType) and value.dtype != ir.DataType.UNDEFINED
    datatype = datatype_of(value.dtype.numpy()) if is_tensor and value.dtype is not None else None
    if datatype is None:
        shown = value.dtype.name.lower() if is_tensor and value.dtype is not None else "no tensor"
        raise WrongArguments(f'input "{value.name}" is {shown}; models take booleans, integers and floats')
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
    """Find the axes that may be the batch: those called so, or else those of size 1 or of any size."""
    by_user = [at for at in range(len(tensor.axes)) if roles.axes.get((tensor.name, at)) == BATCH]
    called = by_user or [at for at, axis in enumerate(tensor.axes) if axis.name == BATCH]
    if called:
        size = tensor.axes[called[0]].size
        if size > 1:
            raise WrongArguments(
                f"--axis {tensor.name}.{called[0]}={BATCH}: this axis is always {size}: the file was exported for one "
                "size of batch; export it again with the axis dynamic"
            )
        return FileInput(tensor, tuple(called[:1]), is_settled=True)
    free = [at for at, axis in enumerate(tensor.axes) if axis.size in (1, DYNAMIC)]
    candidates = tuple(at for at in free if (tensor.name, at) not in roles.axes)
    if not candidates:
        shown = ", ".join(axis.name if axis.size == DYNAMIC else str(axis.size) for axis in tensor.axes)
        option = f", or say --axis {tensor.name}.AT={BATCH}, AT of {', '.join(map(str, free))}" if free else ""
        raise WrongArguments(f'input "{tensor.name}" ({shown}) has no axis for the batch: {ONE_ROW}{option}')
    return FileInput(tensor, candidates, is_settled=False)


def _holds_lengths(tensor: manifest_pb2.Tensor, roles: Roles) -> bool:
    """Whether an input holds lengths: as the user says, or as its name does."""
    fits = len(tensor.axes) == 1 and tensor.datatype in ("INT32", "INT64")
    if tensor.name in roles.lengths and not fits:
        axis = roles.lengths[tensor.name]
        raise WrongArguments(f"--lengths {tensor.name}={axis}: lengths are INT64 or INT32 of axes (batch)")
    return tensor.name in roles.lengths or (
        fits and bool(_LENGTHS.search(tensor.name)) and tensor.name not in roles.integers
    )


def _which_number(tensor: manifest_pb2.Tensor, compared: Sequence[str]) -> Question:
    """Ask for the value of an input that is one number, which the file may compare with others."""
    known = f", which the file compares with {' and '.join(compared[:_SHOWN])}" if compared else ""
    dtype = DTYPES[tensor.datatype]
    return Question(
        f'input "{tensor.name}" is one number ({dtype}{known}) and not one for each row, so say which',
        f"--constant {tensor.name}={compared[0] if compared else 'VALUE'}",
    )


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """List nodes that read a value, or what has its numbers in another form; and at which input."""
    for node, at in value.uses():
        if node.op_type in _FORMS and at == 0:
            yield from _readers(node.outputs[0])
        else:
            yield node, at


def _rows_of_tables(value: ir.Value) -> tuple[int, int] | None:
    """Return the integers that choose a row of each table from which an input chooses; None for no table."""
    rows = []
    for node, at in _readers(value):
        table = _tensor(node, 0) if node.op_type == "Gather" and at == 1 else None
        if table is not None:
            rows.append(table.shape.numpy()[node.attributes.get_int("axis", 0)])
    return (0, min(rows)) if rows else None


def _compared_with(value: ir.Value) -> Iterator[str]:
    """List the numbers in a file that an input is compared with."""
    for node, at in _readers(value):
        other = _tensor(node, 1 - at) if node.op_type in _COMPARISONS else None
        if other is not None and other.size == 1:
            yield f"{other.numpy().item():.9g}"


def _tensor(node: ir.Node, at: int) -> ir.TensorProtocol | None:
    """Return the constant that a node reads; None for no constant."""
    value = node.inputs[at]
    return None if value is None else ir.convenience.get_const_tensor(value)


def _constant(value: ir.Value, text: str) -> npt.NDArray[Any]:
    """Read the value of an input that a user gives."""
    option = f"--constant {value.name}={text}"
    dtype = DTYPES[_described(value, Roles()).datatype]
    shape = tuple(dim if isinstance(dim, int) else 0 for dim in value.shape or ())
    if any(size < 1 for size in shape):
        raise WrongArguments(f"{option}: this input has an axis of any size, so its values are those of a request")
    try:
        array = np.array([_number(word, dtype) for word in text.split(",")], dtype)
    except (KeyError, ValueError, OverflowError) as error:
        raise WrongArguments(f"{option}: expected numbers of {dtype}") from error
    if array.size not in (1, math.prod(shape)):
        raise WrongArguments(f"{option}: {array.size} numbers; expected one, or {math.prod(shape)} with commas")
    return np.full(shape, array.flat[0]) if array.size == 1 else array.reshape(shape)


def _number(word: str, dtype: np.dtype[Any]) -> bool | int | float:
    if dtype.kind == "b":
        return {"true": True, "false": False, "1": True, "0": False}[word.lower()]
    return int(word) if dtype.kind in "iu" else float(word)


_ROWS = (3, 1, 5)
_MOST = 48  # choices of batches that are tried
_SIZES = (8, 16, 32, 64, 128, 160, 320, 512, 576, 4, 2, 1, 3, 5, 6, 12, 48, 80, 100, 240, 256, 400, 640)
_LONG = (1024, 1280, 1600, 4000, 16000)
"""Sizes of the other axes that are tried, all of them the same; the long ones if there is one axis: samples."""
_LARGEST = 16384
_REFUSED = 200  # characters of onnxruntime's reason


class Found(NamedTuple):
    """A choice of batches with which a file runs."""

    batches: Mapping[str, int]  # position of the batch, by input
    inputs: Sequence[manifest_pb2.Tensor]  # with these batches, described
    sizes: Mapping[str, int]  # of the other dynamic axes


class BatchTrial:
    """Runs a file as it is (`alone`), and with each axis dynamic that may be the batch (`together`).

    Rows that are run together must have the results that each has alone.
    """

    def __init__(self, inputs: Sequence[FileInput], alone: OnnxRunner, together: OnnxRunner, roles: Roles) -> None:
        self._inputs, self._alone, self._together, self._roles = inputs, alone, together, roles
        self._refused = ""  # what onnxruntime raised for the first sizes with which the file doesn't run

    def find(self, questions: Sequence[Question]) -> Found:
        """Find the batch. Otherwise ask the questions about the file, and refuse it."""
        one_row = ""  # why rows can't be run together, though the file runs with one
        for batches in itertools.islice(self._choices(), _MOST):
            described = describe_inputs(self._inputs, batches, self._roles.fixed)
            sizes = self._running_sizes(described)
            if sizes is None:
                continue
            found = Found(batches, described, sizes)
            runs, change = self._run_together(found)
            # Rows of an axis that is called the batch may depend on each other: the version is served so, then.
            if runs and (not change or all(each.is_called_batch for each in self._inputs)):
                return found
            one_row = one_row or change
        if one_row:
            ask(questions)
            raise WrongArguments(f"the file computes one row at a time; {ONE_ROW} ({one_row})")
        refused = self._refused[:_REFUSED]
        first = {each.tensor.name: each.candidates[0] for each in self._inputs}
        why = 'onnxruntime runs it with none of the sizes of "{}" that were tried; say which it takes'
        unknown = [
            Question(why.format(name), f"--size {name}=SIZE", f" ({refused})")
            for name in sequence_axes(describe_inputs(self._inputs, first, self._roles.fixed))
            if name not in self._roles.sizes
        ]
        ask([*questions, *unknown])
        raise WrongArguments(f"onnxruntime does not run it with one row of these sizes; {FROZEN} {refused}")

    def _run_together(self, found: Found) -> tuple[bool, str]:
        """Whether rows run together, with a result of a row for each; and how that changes them, if not by rounding."""
        change = ""
        most = self._roles.sizes.get(BATCH, (1, max(_ROWS)))[1]
        for rows in (min(rows, most) for rows in _ROWS):
            inputs = draw_inputs(found.inputs, np.random.default_rng(rows), {**found.sizes, BATCH: rows})
            try:
                together = self._together(inputs)
                alone = [self._alone(take_row(found.inputs, inputs, row)) for row in range(rows)]
            except RuntimeError as error:
                return False, f"with {rows} rows, {error}"
            for name, array in together.items():
                is_same = _is_same(array, [row[name] for row in alone])
                if is_same is None:
                    shape = alone[0][name].shape
                    hint = ": leave it out (--output)?" if array.shape == shape and len(together) > 1 else ""
                    words = f'"{name}" has the shape {list(array.shape)}, and {list(shape)} for one row'
                    return False, f"with {rows} rows, {words}{hint}"
                if not is_same:
                    change = change or f'with {rows} rows, "{name}" is not what the file gives for each alone'
        return True, change

    def range_of(self, found: Found, axis: str) -> tuple[int, int] | None:
        """Find the smallest and the largest size of an axis with which the file runs.

        (1, 0) if it runs with any; None if it runs with some sizes, and not with others between these.
        """
        usual = self._run(found.inputs, found.sizes)

        def runs(size: int) -> bool:
            results = self._run(found.inputs, {**found.sizes, axis: size})
            if usual is None or results is None:
                return False
            return all(results[name].ndim == array.ndim for name, array in usual.items())  # a Squeeze may change it

        def last(good: int, bad: int) -> int:
            while abs(good - bad) > 1:
                middle = (good + bad) // 2
                good, bad = (middle, bad) if runs(middle) else (good, middle)
            return good

        size = found.sizes[axis]
        if not all(runs(size + more) for more in (1, 2, 7)):
            return None
        if all(runs(few) for few in (1, 2, 3)):
            return 1, 0
        most, beyond = size + 7, 2 * size
        while beyond <= _LARGEST and runs(beyond):
            most, beyond = beyond, 2 * beyond
        return last(size, 0), _LARGEST if beyond > _LARGEST else last(most, beyond)

    def _choices(self) -> Iterator[dict[str, int]]:
        """List which axis of each input may be the batch; it is the same axis of inputs with like axes."""
        groups: dict[object, list[FileInput]] = {}
        for each in self._inputs:
            sizes = tuple(axis.size for axis in each.tensor.axes)
            groups.setdefault((sizes, each.candidates), []).append(each)
        for chosen in itertools.product(*(members[0].candidates for members in groups.values())):
            pairs = zip(groups.values(), chosen, strict=True)
            yield {each.tensor.name: at for members, at in pairs for each in members}

    def _running_sizes(self, inputs: Sequence[manifest_pb2.Tensor]) -> dict[str, int] | None:
        """Find sizes of the axes except the batch with which one row runs."""
        names = sequence_axes(inputs)
        tried = set()
        for size in (*_SIZES, *(_LONG if len(names) == 1 else ())):
            limits = {name: self._roles.sizes.get(name, (size, size)) for name in names}
            sizes = {name: min(max(size, low), high) for name, (low, high) in limits.items()}
            key = tuple(sizes.values())
            if key not in tried and self._run(inputs, sizes) is not None:
                return sizes
            tried.add(key)
        return None

    def _run(self, inputs: Sequence[manifest_pb2.Tensor], sizes: Mapping[str, int]) -> Arrays | None:
        try:
            return self._alone(draw_inputs(inputs, np.random.default_rng(0), {**sizes, BATCH: 1}))
        except RuntimeError as error:
            self._refused = self._refused or " ".join(str(error).split())
            return None


def _is_same(found: npt.NDArray[Any], rows: Sequence[npt.NDArray[Any]]) -> bool | None:
    """Compare rows that were run together, along an axis of size 1, with each of them alone. None for other shapes."""
    shape = rows[0].shape
    if any(row.shape != shape for row in rows):
        return None
    for axis in (at for at, size in enumerate(shape) if size == 1):
        expected = np.concatenate(rows, axis)
        if found.shape == expected.shape and found.dtype == expected.dtype:
            if found.dtype.kind != "f":
                return np.array_equal(found, expected)
            return float(distances(found, expected).max(initial=0.0)) <= EAGER_ROUNDING * scale(expected)
    return None
