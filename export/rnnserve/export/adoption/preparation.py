"""A foreign file made ready to be described: constants put in, axes named, a batch where there was none or one row."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import onnx

from rnnserve.export.adoption.batch_trial import BatchTrial, Found
from rnnserve.export.adoption.constants import numbers_by_row, put_constants, scalar_questions
from rnnserve.export.adoption.file_comparison import QUANTISED, check_rows
from rnnserve.export.adoption.integer_ranges import LENGTHS, integer_range, range_question
from rnnserve.export.adoption.old_operators import OLDEST, check_converted, converted, operator_set
from rnnserve.export.adoption.open_axes import Batches, OpenInput, open_input
from rnnserve.export.adoption.questions import Question, ask
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.adoption.row_by_row import output_batches, run_row_by_row
from rnnserve.export.errors import ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.onnx_files import model_inputs
from rnnserve.export.parity import OnnxProcess, OnnxRunner
from rnnserve.export.subgraphs import all_nodes
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Prepared", "prepare"]

_REFUSED = 200  # characters of onnxruntime's reason
_WIDTHS = 24  # sizes of weights that are tried


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A file that can be described.

    Attributes:
        model: The file, with named axes and a dynamic batch.
        roles: Roles of its tensors, with those that were found.
        notes: What was done and found, in sentences for the record.
        one_row: Whether the graph takes one row at a time, and is run for each row by itself.
        is_quantised: Whether it scales numbers to int8 by the largest that it meets.
    """

    model: onnx.ModelProto
    roles: Roles
    notes: Sequence[str] = ()
    one_row: bool = False
    is_quantised: bool = False


def prepare(model: onnx.ModelProto, roles: Roles, process: OnnxProcess) -> Prepared:
    """Put constants in, find the batch, and name axes.

    Args:
        model: The file, whose inputs are tensors of known shapes.
        roles: Roles that the user gives.
        process: Process in which it runs.

    Raises:
        WrongArguments: If the file and the user do not say enough; the message asks for all that is missing.
        ExportError: If rows that are run together have other results than the file itself gives.
        RuntimeError: If onnxruntime does not take the file.
    """
    roles = numbers_by_row(model, roles)
    done = put_constants(model, roles)
    notes = [done] if done else []
    new = converted(model)
    if new is None:
        return _prepare(model, roles, process, notes)
    try:
        return _prepare(new, roles, process, notes, before=model)
    except RuntimeError as error:
        raise ExportError(
            f"its operator set is {operator_set(model)}, and onnxruntime does not run what onnx converts it to: export "
            f"it again with operator set {OLDEST} or later ({error})"
        ) from error
    except ExportError as error:
        try:
            return _prepare(model, roles, process, notes)
        except RuntimeError:  # onnxruntime does not run it as it was
            raise error from None


def _prepare(
    model: onnx.ModelProto,
    roles: Roles,
    process: OnnxProcess,
    notes: Sequence[str],
    before: onnx.ModelProto | None = None,
) -> Prepared:
    """Find the batch of a file that has its constants, and name axes.

    Args:
        model: The file.
        roles: Roles that the user gives.
        process: Process in which it runs.
        notes: Sentences of what was done before.
        before: File before its operators were converted; None where they were not.
    """
    questions = [*scalar_questions(model, roles)]
    inputs = [_opened(model, value, roles) for value in model_inputs(model)]
    questions += [
        range_question(each.name, str(each.dtype).upper())
        for each in inputs
        if each.dtype.kind in "iu" and each.integers is None and not each.is_lengths and each.dims
    ]
    asked = {question.option.split()[1].partition("=")[0] for question in questions}
    trial_model = _guessed(model, questions)
    inputs = [each for each in inputs if each.dims or each.name not in asked]
    alone = OnnxRunner(trial_model.SerializeToString(), process=process)
    together = OnnxRunner(_with_open_batch(trial_model, inputs).SerializeToString(), process=process)
    is_quantised = any(node.op_type.startswith("DynamicQuantize") for node in all_nodes(model.graph))
    trial = BatchTrial(inputs, alone, together, roles.limits, widths=_widths(model), is_quantised=is_quantised)
    found = trial.find()
    if found is None:
        if any(each.settled is None or "" in each.dims for each in inputs) or questions:
            ask([*questions, *_any_sizes(inputs, roles, trial)])
        return Prepared(model, roles, notes)
    if any(each.is_number for each in inputs):  # each row has its own: no file takes a batch of such
        found = dataclasses.replace(found, together=False)
    limits, missing = _sizes(trial, found, roles)
    ask([*questions, *missing])
    if before is not None:
        notes = [*notes, check_converted(before, inputs, found.batches, found.sizes, alone, process)]
    integers = {each.name: each.integers for each in inputs if each.integers is not None and not each.is_lengths}
    given = roles
    roles = dataclasses.replace(
        roles,
        integers={**integers, **roles.integers},
        sizes={**limits, **roles.sizes},
        axes=_other_names(roles, found.batches),
    )
    notes = [*notes, *_notes(inputs, found, limits, is_quantised=is_quantised)]
    if found.together:
        made, changed = _named(model, inputs, found.batches), _is_changed(inputs, found)
    else:
        changing = trial.size_of_values(found)
        if changing:
            raise UnsupportedModule(
                f'the sizes of "{changing}" are others for other values of inputs of the same sizes, as where a Loop '
                "ends early: rows of a request have results of one size. Export it with a fixed number of steps"
            )
        shapes = trial.result_shapes(found)
        ranks = {name: len(shape) for name, shape in shapes.items()}
        by_row = run_row_by_row(model, found.batches, output_batches(shapes, given, inputs, found.batches), ranks)
        made, changed = _named(by_row, inputs, found.batches), True
    if changed:
        served = OnnxRunner(made.SerializeToString(), process=process)
        allowed = QUANTISED if is_quantised and found.together else 0.0
        check_rows(inputs, found.batches, found.sizes, alone, served, allowed=allowed)
    roles = dataclasses.replace(roles, axes={**_fix_sizes(made, roles.fixed), **roles.axes})
    return Prepared(made, roles, notes, one_row=not found.together, is_quantised=is_quantised)


def _opened(model: onnx.ModelProto, value: onnx.ValueInfoProto, roles: Roles) -> OpenInput:
    rank = len(value.type.tensor_type.shape.dim)
    is_lengths = value.name in roles.lengths or (
        rank == 1 and bool(LENGTHS.search(value.name)) and value.name not in roles.integers
    )
    integers = None if is_lengths else integer_range(model.graph, value.name, roles)
    return open_input(value, roles, integers, is_lengths=is_lengths)


def _guessed(model: onnx.ModelProto, questions: Sequence[Question]) -> onnx.ModelProto:
    """Put values in that are asked for and that the file itself shows, so that all else can be found and asked, too."""
    guesses = {}
    for question in questions:
        option, _, answer = question.option.partition(" ")
        name, _, value = answer.rpartition("=")
        if option == "--constant":
            guesses[name] = "1" if value == "VALUE" else value
    if not guesses:
        return model
    guessed = onnx.ModelProto()
    guessed.CopyFrom(model)
    put_constants(guessed, Roles(constants=guesses))
    return guessed


def _with_open_batch(model: onnx.ModelProto, inputs: Sequence[OpenInput]) -> onnx.ModelProto:
    """Give the file with every axis dynamic that may be the batch, and without what it says of shapes inside."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    candidates = {each.name: {*each.candidates, *([] if each.settled is None else [each.settled])} for each in inputs}
    for value in opened.graph.input:
        for at, dim in enumerate(value.type.tensor_type.shape.dim):
            if at in candidates.get(value.name, ()):
                dim.Clear()
    _forget_shapes(opened)
    return opened


def _widths(model: onnx.ModelProto) -> list[int]:
    """Give the sizes of weights, largest tensors first: an axis without a size may have to have one of them."""
    weights = sorted((tensor.dims for tensor in model.graph.initializer if len(tensor.dims) > 1), key=math.prod)
    return list(dict.fromkeys(size for dims in reversed(weights) for size in dims if size > 1))[:_WIDTHS]


def _forget_shapes(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _is_changed(inputs: Sequence[OpenInput], found: Found) -> bool:
    return any(isinstance(each.dims[at], int) for each in inputs if (at := found.batches[each.name]) is not None)


def _sizes(trial: BatchTrial, found: Found, roles: Roles) -> tuple[dict[str, tuple[int, int]], list[Question]]:
    """Find which sizes of each axis the file takes, where the user does not say it."""
    limits: dict[str, tuple[int, int]] = {}
    questions = []
    for axis, size in found.sizes.items():
        if axis in roles.limits:
            continue
        taken = trial.range_of(found, axis)
        if taken is None:
            why = (
                f'onnxruntime runs it with {size} of "{axis}", but not with other sizes about that; say which it takes'
            )
            questions.append(Question(why, f"--size {axis}={size}"))
        elif taken[1]:
            limits[axis] = taken
    return limits, questions


def _any_sizes(inputs: Sequence[OpenInput], roles: Roles, trial: BatchTrial) -> Iterator[Question]:
    names = [
        name
        for each in inputs
        for name in each.axis_names(next(iter(each.candidates), None) if each.settled is None else each.settled)
        if isinstance(name, str) and name != BATCH
    ]
    reason = " ".join(trial.refused.split())[:_REFUSED]
    for name in dict.fromkeys(names):
        if name not in roles.limits:
            yield Question(
                f'onnxruntime runs it with none of the sizes of "{name}" that were tried; say which it takes',
                f"--size {name}=SIZE",
                f" ({reason})",
            )
    if all(name in roles.limits for name in names):
        raise WrongArguments(f"onnxruntime does not run it with the sizes given: {reason}")


def _other_names(roles: Roles, batches: Batches) -> dict[tuple[str, int], str]:
    """Give names of axes at their places now: those of dynamic ones are in the file, those of fixed ones are not."""
    return {
        (tensor, at + (tensor in batches and batches[tensor] is None)): name
        for (tensor, at), name in roles.axes.items()
        if name != BATCH
    }


def _notes(
    inputs: Sequence[OpenInput], found: Found, limits: Mapping[str, tuple[int, int]], *, is_quantised: bool
) -> Iterator[str]:
    if not found.together:
        yield "onnx: it takes one row at a time: its graph is run for each row of a request by itself"
    elif _is_changed(inputs, found):
        results = "rows have the results of the file itself"
        if is_quantised:
            results += ", but for what int8 moves: less than a tenth of what rows differ by"
        yield f"onnx: its batch was fixed at 1 and is dynamic now: {results}"
    tried = [
        f'axis {at} of "{each.name}"'
        for each in inputs
        if each.settled is None and (at := found.batches[each.name]) is not None
    ]
    if tried:
        yield f"onnx: the batch, found by trial: {', '.join(tried)}"
    new = [f'"{each.name}"' for each in inputs if found.batches[each.name] is None]
    if new:
        yield f"onnx: no batch in the file, so it has a new axis before the others: {', '.join(new)}"
    for axis, (low, high) in limits.items():
        yield f'onnx: onnxruntime runs it with {low} to {high} of "{axis}", by trial; --size says other sizes'


def _named(model: onnx.ModelProto, inputs: Sequence[OpenInput], batches: Batches) -> onnx.ModelProto:
    """Give a file with the names of its inputs' axes in it."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    by_name = {each.name: each for each in inputs}
    changed = False
    for value in model_inputs(named):
        each, shape = by_name[value.name], value.type.tensor_type.shape
        names = each.axis_names(batches[each.name])
        names = [BATCH, *names] if batches[each.name] is None else names
        before = [dim.dim_value for dim in shape.dim]
        shape.ClearField("dim")
        for name in names:
            shape.dim.add(**({"dim_param": name} if isinstance(name, str) else {"dim_value": name}))
        changed |= before != [dim.dim_value for dim in shape.dim]
    if changed:
        _forget_shapes(named)
    return named


def _fix_sizes(model: onnx.ModelProto, fixed: Mapping[str, int]) -> dict[tuple[str, int], str]:
    """Write sizes into the file that never change.

    Returns:
        Names of these axes, by input and position.

    Raises:
        WrongArguments: If there is no such axis.
    """
    dims = [
        (value.name, at, dim)
        for value in model_inputs(model)
        for at, dim in enumerate(value.type.tensor_type.shape.dim)
    ]
    free = list(dict.fromkeys(dim.dim_param for _, _, dim in dims if dim.dim_param))
    for name in fixed:
        if name not in free or name == BATCH:
            raise WrongArguments(f'--size names the axis "{name}"; the dynamic axes are {", ".join(free)}')
    named = {(name, at): dim.dim_param for name, at, dim in dims if dim.dim_param in fixed}
    for _, _, dim in dims:
        if dim.dim_param in fixed:
            dim.dim_value = fixed[dim.dim_param]
    return named
