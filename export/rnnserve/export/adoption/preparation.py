"""A file made ready to be described: constants put in, the batch found, and axes named."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from rnnserve.export.adoption.batch_trial import BatchTrial, Found
from rnnserve.export.adoption.file_inputs import (
    FileInput,
    check_lengths,
    check_names,
    describe_inputs,
    put_constants,
    read_inputs,
)
from rnnserve.export.adoption.roles import FROZEN, ONE_ROW, Question, Roles, ask
from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.errors import WrongArguments
from rnnserve.export.onnx_files import save_model
from rnnserve.export.parity import OnnxProcess, OnnxRunner
from rnnserve.export.tensor_shapes import sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Prepared", "prepare", "write_axes"]

_REFUSED = 200  # characters of onnxruntime's reason
_SHOWN = 5  # names, of what may be all weights
_WEIGHTS_APART = 4  # the IR version since which initializers need not be inputs


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What was found of a file whose batch is dynamic now.

    Attributes:
        inputs: Its inputs, described.
        sizes: The smallest and the largest size of axes, as the user says or as was found.
        notes: What was done and found, in sentences for the record.
        is_quantised: Whether it scales numbers to int8 by the largest that it meets.
    """

    inputs: list[manifest_pb2.Tensor]
    sizes: Mapping[str, tuple[int, int]]
    notes: Sequence[str]
    is_quantised: bool


def prepare(model: ir.Model, roles: Roles, process: OnnxProcess) -> Prepared:
    """Put constants in, find the batch, and name axes; changes the model.

    Raises:
        WrongArguments: If the file and the user do not say enough, and then the message asks for all that is missing;
            or if rows cannot be run together.
        RuntimeError: If onnxruntime does not take the file.
    """
    notes = [*_drop_inputs_with_values(model)]
    check_names(model, roles)
    notes += _put_constants(model, roles)
    inputs, questions = read_inputs(model, roles)
    alone = OnnxRunner(save_model(model), process=process)
    together = OnnxRunner(save_model(_with_open_batch(model, inputs)), process=process)
    is_quantised = any(node.op_type.startswith("DynamicQuantize") for node in model.graph.all_nodes())
    trial = BatchTrial(inputs, alone, together, roles, is_quantised=is_quantised)
    found = trial.find()
    if found is None and trial.one_row:
        ask(questions)
        raise WrongArguments(f"the file computes one row at a time; {ONE_ROW} ({trial.one_row})")
    if found is None:
        ask([*questions, *_any_sizes(inputs, roles, trial.refused)])
        refused = trial.refused[:_REFUSED]
        raise WrongArguments(f"onnxruntime does not run it with one row of these sizes; {FROZEN} {refused}")
    limits, missing = _limits(trial, found, roles)
    ask([*questions, *missing])
    check_lengths(found.inputs, roles)
    _check_fixed(inputs, found, roles)
    is_opened = any(each.tensor.axes[found.batches[each.tensor.name]].size == 1 for each in inputs)
    write_axes(model.graph.inputs, found.inputs)
    if is_opened:
        _forget_shapes(model)
        rows = "rows have the results of the file itself"
        rows += ", but for what int8 moves: less than a tenth of what rows differ by" if is_quantised else ""
        notes.append(f"onnx: its batch was fixed at 1 and is dynamic now: {rows}")
    tried = [each.tensor.name for each in inputs if not each.is_settled]
    if tried:
        places = ", ".join(f'axis {found.batches[name]} of "{name}"' for name in tried)
        notes.append(f"onnx: the batch, found by trial: {places}")
    for axis, (low, high) in limits.items():
        notes.append(f'onnx: onnxruntime runs it with {low} to {high} of "{axis}", by trial; --size says other sizes')
    return Prepared(list(found.inputs), {**limits, **roles.sizes}, notes, is_quantised)


def write_axes(values: Sequence[ir.Value], tensors: Sequence[manifest_pb2.Tensor]) -> None:
    """Write described axes into inputs or outputs of a file."""
    for value, tensor in zip(values, tensors, strict=True):
        value.shape = ir.Shape([axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes])


def _drop_inputs_with_values(model: ir.Model) -> Iterator[str]:
    """Remove inputs that have values in the file: weights of an old file, and what a caller might set."""
    names = [value.name for value in model.graph.inputs if value.is_initializer()]
    is_old = model.ir_version < _WEIGHTS_APART
    old = f"; IR version {model.ir_version} lists the weights there, too" if is_old else ""
    if names:
        model.graph.inputs[:] = [value for value in model.graph.inputs if not value.is_initializer()]
        model.ir_version = max(model.ir_version, _WEIGHTS_APART)
        shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"onnx: inputs that have values in the file keep these, and no request sets them: {shown}{more}{old}"


def _put_constants(model: ir.Model, roles: Roles) -> Iterator[str]:
    if roles.constants:
        put_constants(model, roles.constants)
        shown = ", ".join(f'"{name}" is {text}' for name, text in roles.constants.items())
        yield f"onnx: inputs with one value for all requests, as you said: {shown}"


def _with_open_batch(model: ir.Model, inputs: Sequence[FileInput]) -> ir.Model:
    """Give the file with every axis dynamic that may be the batch, and without what it says of shapes inside."""
    opened = model.clone()
    for value, each in zip(opened.graph.inputs, inputs, strict=True):
        shape = value.shape or ()
        value.shape = ir.Shape([None if at in each.candidates else dim for at, dim in enumerate(shape)])
    _forget_shapes(opened)
    return opened


def _forget_shapes(model: ir.Model) -> None:
    for node in model.graph:
        for output in node.outputs:
            output.shape = None


def _any_sizes(inputs: Sequence[FileInput], roles: Roles, refused: str) -> Iterator[Question]:
    """Ask for the sizes of a file that runs with none of those that were tried."""
    first = {each.tensor.name: each.candidates[0] for each in inputs}
    for name in sequence_axes(describe_inputs(inputs, first, roles.fixed)):
        if name not in roles.sizes:
            yield Question(
                f'onnxruntime runs it with none of the sizes of "{name}" that were tried; say which it takes',
                f"--size {name}=SIZE",
                f" ({refused[:_REFUSED]})",
            )


def _limits(trial: BatchTrial, found: Found, roles: Roles) -> tuple[dict[str, tuple[int, int]], list[Question]]:
    """Find which sizes of each axis the file takes, if the user does not say it."""
    limits, questions = {}, []
    for axis, size in found.sizes.items():
        if axis in roles.sizes:
            continue
        taken = trial.range_of(found, axis)
        if taken is None:
            why = f'onnxruntime runs it with {size} of "{axis}", but not with other sizes about that'
            questions.append(Question(f"{why}; say which it takes", f"--size {axis}={size}"))
        elif taken[1]:
            limits[axis] = taken
    return limits, questions


def _check_fixed(inputs: Sequence[FileInput], found: Found, roles: Roles) -> None:
    """Refuse a size of an axis that is not dynamic in the file."""
    free = [BATCH, *sequence_axes(describe_inputs(inputs, found.batches, {}))]
    for name in roles.fixed:
        if name not in free[1:]:
            raise WrongArguments(f'--size names the axis "{name}"; the dynamic axes are {", ".join(free)}')
