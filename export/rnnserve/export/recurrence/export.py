"""`export_onnx` exports any module with recurrent layers through torch's default exporter, one operator per layer.

`run_pass` runs each pass, and names the pass that fails.
"""

import contextlib
import dataclasses
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, OutputKind

from rnnserve.export.errors import BrokenPostcondition, ExportError, FailedPass, UnsupportedModule, WrongArguments
from rnnserve.export.operators import TRANSLATIONS as OPERATORS
from rnnserve.export.operators import (
    MayBeEmpty,
    guard_empty_axes,
    refuse_operators,
    rewrite_for_onnxruntime,
    unify_numbers,
)
from rnnserve.export.operators.graphs import fill_types
from rnnserve.export.recurrence.capture import capture, parameters_of
from rnnserve.export.recurrence.carried_state import refuse_carried_state
from rnnserve.export.recurrence.dynamic_axes import (
    ANY_SIZES,
    Arguments,
    DynamicAxes,
    Limits,
    Shapes,
    resize,
    sizes_that_may_be_empty,
    within,
)
from rnnserve.export.recurrence.exact_passes import (
    RECURRENT,
    cast_before_transposing,
    fold_weights,
    simplify_exactly,
)
from rnnserve.export.recurrence.held_values import checks_left_out
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.recurrence.layer_operators import GRU, LSTM, RNN, TRANSLATIONS
from rnnserve.export.recurrence.linear_attention import LINEAR_ATTENTION, use_linear_attention
from rnnserve.export.recurrence.naming import (
    mark_translations,
    name_after_modules,
    name_axes,
    name_interface,
    remove_metadata,
)
from rnnserve.export.recurrence.program_passes import (
    decomposed_quickly,
    divide_sizes_exactly,
    leave_stored_buffers,
)
from rnnserve.export.recurrence.refusals import FixedSize, OtherPath, RaisedInCapture, refuse_state, untranslated
from rnnserve.export.recurrence.roll import NotRolled, RolledCapture, rolled_capture
from rnnserve.export.recurrence.scan import refuse_empty_scans, translate_scans
from rnnserve.export.recurrence.value_trials import fixes_sizes, other_sizes, run_trials, special_operators
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.export.torch_adapter import TESTED, registry_read_once, without_printed_graphs, written_module
from rnnserve.protos.protocol_words import BATCH

__all__ = ["export_onnx", "run_pass"]

# These loggers report that torchvision isn't installed, which constants weren't folded, and why a module can't be
# captured. The last message prints whole graphs, and the exception contains the reason anyway.
_LOGGERS = (
    "torch.onnx._internal.exporter",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "onnxscript",
    "onnx_ir",
)

T = TypeVar("T")


@contextlib.contextmanager
def without_exporter_messages() -> Iterator[None]:
    """Suppress deprecation warnings and messages of torch's exporter, even under `-W error`. Errors still raise."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), without_printed_graphs():
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        # torch warns about every attribute that a forward writes. `carried_state` refuses the harmful ones.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export", UserWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def export_onnx(
    module: nn.Module,
    args: Arguments,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: Shapes,
    sizes: Limits = ANY_SIZES,
) -> torch.onnx.ONNXProgram:
    """Export `module` with one native ONNX operator (RNN, GRU or LSTM) per recurrent layer.

    The module is exported in its current mode, so call `.eval()` first. No other thread may use the module during the
    export. Other threads can use other modules and PyTorch as usual. Sequences can be plain or packed, batch-first or
    not, with or without initial states. `pad_packed_sequence` without `total_length` trims to the longest row, as in
    eager. You can call layers on `data` of a packed sequence and pass the result to another `PackedSequence` with the
    same lengths.

    Args:
        module: Any module. nn.RNN, nn.GRU and nn.LSTM can be anywhere in it, or absent.
        args: Sample arguments for its forward. Only shapes and dtypes matter. The program is right for every size of
            the dynamic axes, so a sample of one row and one step is enough.
        input_names: A name for each tensor among `args`, in order. Arguments that are None or plain numbers become part
            of the program.
        output_names: A name for each tensor among the results, in order.
        dynamic_shapes: Nested like `args`, or a dict by the forward's parameter names. For each tensor it has None or
            axis -> name, such as `{0: "batch", 1: "sequence"}`. Axes with the same name have the same size.
        sizes: Smallest and largest size of each axis, by name, if the module doesn't accept every size:
            {"sequence": (5, 64)}. Use None if there is no largest size. The export runs the module only at these sizes,
            and the sample must fit them as well.

    Returns:
        The program, checked: it has the requested names and axes and one operator per layer, and it is valid ONNX. It
        contains no paths and no stack traces. The same module produces the same bytes
        (`program.model_proto.SerializeToString(deterministic=True)`).

    Raises:
        WrongArguments: If names, sample and dynamic shapes do not fit the module or each other.
        UnsupportedModule: If the module does something that would be exported wrong. The message explains what, where
            and why.
        BrokenPostcondition: If the exporter's result differs from the request.
        FailedPass: If a pass of the export fails. The message names the pass.
    """
    if not isinstance(module, nn.Module):
        raise WrongArguments(f"export_onnx got a {type(module).__name__}; expected an nn.Module")
    module = written_module(module)
    if not isinstance(args, tuple):
        raise WrongArguments(f"args is a {type(args).__name__}; expected a tuple of the forward's arguments")
    axes = DynamicAxes.of(parameters_of(module, args), args, dynamic_shapes, input_names)
    # One export at a time, because torch's exporter and Python's warning filters don't support several threads.
    with (
        LOCK,
        left_as_they_were(module),
        without_exporter_messages(),
        _frozen(module),
        checks_left_out() as lines,
    ):
        try:
            with left_as_they_were(module):  # a second attempt must not begin after the calls of the first one
                translated = _export(module, args, axes, sizes, input_names, output_names)
        except OtherPath as refused:
            if refused.by_loop:
                raise
            # The sample may be the special case: its steps may fit one chunk of 64, and `x[:, :1]` be all chunks.
            larger = {name: within(_LARGE + at, name, sizes) for at, name in enumerate(axes.sizes) if name != BATCH}
            axes = dataclasses.replace(axes, sizes={**axes.sizes, **larger})
            try:
                translated = _export(module, resize(args, axes, larger), axes, sizes, input_names, output_names)
            except ExportError:
                raise refused from None
    for line in lines:
        warnings.warn(f"the exported module skips the check of values at {line}", stacklevel=2)
    return translated


_LARGE = 300
"""Size of the axes of a second sample. It is larger than the chunks of most modules that compute in chunks."""


def _export(
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    sizes: Limits,
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> torch.onnx.ONNXProgram:
    captured = _capture(module, args, axes, sizes)
    _prepare(captured.program, output_names)
    special = special_operators(captured.program)
    translated = _translate(captured.program, input_names)  # torch.onnx may decompose the program in place
    _finish(captured, translated, module, args, axes, sizes, special, input_names, output_names)
    return translated


@contextlib.contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Turn off gradients of parameters in the context: a forward may enable gradients, which our stand-ins lack."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _capture(module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Limits) -> RolledCapture:
    """Capture a module with symbolic sizes or, if its code fixes a size, from captures at a few fixed sizes."""
    program: ExportedProgram | None = None
    refused: UnsupportedModule | None = None
    try:
        program = capture(module, args, axes, sizes)
    except (FixedSize, RaisedInCapture) as error:  # usually because of a loop
        refused = error
    if program is not None and not fixes_sizes(program):
        return RolledCapture(program, [], is_stateless=False)
    # A state left from the previous call has the batch size of that call. The capture then fixes the batch, but its
    # error can't name the cause.
    refuse_carried_state(module, args)
    try:
        return rolled_capture(module, args, axes, sizes)
    except (NotRolled, FixedSize, RaisedInCapture) as said:
        if program is not None:
            return RolledCapture(program, [], is_stateless=True)
        if isinstance(said, NotRolled):
            alike = (
                "a Python loop can be exported only if all its steps perform the same computation, but here "
                f"{said}. {refused}"
            )
            raise NotRolled(alike) from said
        if refused is None or (isinstance(said, RaisedInCapture) and not getattr(refused, "of_batch", False)):
            raise
        raise refused from refused.__cause__


def run_pass(function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 - what the pass takes
    """Run a pass of an export. Refusals, OSError and MemoryError propagate. Other errors become a FailedPass."""
    try:
        return function(*arguments)
    except (ExportError, OSError, MemoryError):
        raise
    except Exception as error:
        name = function.__name__.lstrip("_")
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise FailedPass(
            name,
            f"the export's pass {name} failed: {said} (line {place.lineno} of {place.filename}). The module may be "
            "correct. Either rnnserve has a defect, or it was not tested with this version of torch, onnx or "
            f"onnx_ir: torch is {torch.__version__}, tested with {', '.join(TESTED)}",
        ) from error


def _prepare(program: ExportedProgram, output_names: Sequence[str]) -> None:
    """Run the passes on the captured program."""
    run_pass(leave_stored_buffers, program)
    run_pass(divide_sizes_exactly, program)
    run_pass(refuse_operators, program)
    run_pass(unify_numbers, program)
    run_pass(_check_outputs, program, output_names)


def _check_outputs(program: ExportedProgram, names: Sequence[str]) -> None:
    results = [
        spec
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT and not isinstance(spec.arg, ConstantArgument)
    ]
    if len(results) != len(names) or len(set(names)) != len(names):
        raise WrongArguments(
            f"output_names has {len(set(names))} different names, {list(names)}, for the module's {len(results)} "
            "results; expected one name for each tensor, with nested tensors in order (h_n and c_n are two)"
        )


def _translate(captured: ExportedProgram, input_names: Sequence[str]) -> torch.onnx.ONNXProgram:
    try:
        with registry_read_once(), decomposed_quickly():
            program = torch.onnx.export(
                captured,
                dynamo=True,
                verbose=False,
                input_names=list(input_names),
                custom_translation_table=OPERATORS | TRANSLATIONS,
                # torch's optimizer erases constants of 1e-8 and less. `exact_passes` lists the passes that run instead.
                optimize=False,
            )
    except ExportError:
        raise
    except Exception as error:
        raise untranslated(error) from error
    return cast(torch.onnx.ONNXProgram, program)  # torch returns None only for its older exporter


def _finish(
    captured: RolledCapture,
    translated: torch.onnx.ONNXProgram,
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    sizes: Limits,
    special: Mapping[str, str],
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> None:
    """Run the passes on the graph from torch.onnx."""
    model, program = translated.model, captured.program
    decomposed = cast(ExportedProgram, translated.exported_program)  # the program that torch.onnx translated
    # Refusals come after the translation, so that an operator without a translation is reported before a kept state.
    run_pass(refuse_state, decomposed)
    if not captured.is_stateless:
        run_pass(refuse_carried_state, module, args)
    trials = captured.trials or run_pass(other_sizes, module, args, axes, program, sizes, special)
    run_pass(_inline_functions, model)
    run_pass(fill_types, model)
    may_be_empty = run_pass(sizes_that_may_be_empty, program, decomposed, axes, sizes)
    if may_be_empty is not None:
        run_pass(_guard_empty_axes, model, may_be_empty)
    run_pass(rewrite_for_onnxruntime, model)
    run_pass(simplify_exactly, model)
    # From here on, each output is a separate value and can have its own name.
    run_pass(name_interface, model, input_names, output_names)
    run_pass(translate_scans, model)
    # By now, the values in the bodies of scans have shapes.
    run_pass(name_axes, model, decomposed, axes, sizes)
    run_pass(use_linear_attention, model)
    run_pass(fold_weights, model)
    run_pass(cast_before_transposing, model)
    run_pass(name_after_modules, model, module)
    run_pass(remove_metadata, model)
    run_pass(mark_translations, model)
    run_pass(_check_postconditions, translated, axes, input_names, output_names)
    run_pass(run_trials, trials, module, args, axes, input_names, translated)


def _inline_functions(model: ir.Model) -> None:
    InlinePass()(model)


def _guard_empty_axes(model: ir.Model, may_be_empty: MayBeEmpty) -> None:
    guard_empty_axes(model, may_be_empty)
    refuse_empty_scans(model, may_be_empty)


def _check_postconditions(
    translated: torch.onnx.ONNXProgram, axes: DynamicAxes, input_names: Sequence[str], output_names: Sequence[str]
) -> None:
    """Compare the program with the request, and raise BrokenPostcondition with all differences."""
    graph = translated.model.graph
    wrong = [
        f"{what} are {found}, not {list(asked)}"
        for what, found, asked in (
            ("inputs", [value.name for value in graph.inputs], input_names),
            ("outputs", [value.name for value in graph.outputs], output_names),
        )
        if found != list(asked)
    ]
    for value, names in zip(graph.inputs, axes.names, strict=True):
        for axis, name in names.items():
            size = value.shape[axis] if value.shape is not None else None
            if str(getattr(size, "value", size)) != name:
                wrong.append(f'axis {axis} of the input {value.name} is {size}, not "{name}"')
    wrong += _wrong_operators(graph, cast(ExportedProgram, translated.exported_program))
    if wrong:
        raise BrokenPostcondition("torch.onnx exported a model that differs from the request: " + "; ".join(wrong))
    try:
        onnx.checker.check_model(translated.model_proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as invalid:
        raise BrokenPostcondition(f"the exported model is not valid ONNX: {invalid}") from invalid


def _wrong_operators(graph: ir.Graph, decomposed: ExportedProgram) -> list[str]:
    """List the differences if layers don't match operators, or if operators of our own domain remain."""
    stand_ins = [node for node in decomposed.graph.nodes if node.target in (RNN, GRU, LSTM)]
    # The exporter merges calls with equal arguments, so there may be fewer operators than calls.
    distinct = {
        (node.target, str([argument for argument in node.args if isinstance(argument, list)])) for node in stand_ins
    }
    nodes = [node for node in graph.all_nodes() if node.op_type in RECURRENT]
    wrong = []
    if not len(distinct) <= len(nodes) <= len(stand_ins):
        wrong.append(f"{len(nodes)} recurrent operators for {len(stand_ins)} layers")
    foreign = sorted({node.domain for node in graph.all_nodes() if node.domain and node.op_type != LINEAR_ATTENTION})
    if foreign:
        wrong.append(f"operators outside ONNX's own domain: {foreign}")
    return wrong
