"""`export_onnx`: any module that holds recurrent layers, with torch's default exporter, one operator a layer."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from rnnserve.common.lasting_imports import rare_collections
from rnnserve.export.errors import ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.operators import TRANSLATIONS as OPERATORS
from rnnserve.export.recurrence.capture import capture, frozen, parameters_of
from rnnserve.export.recurrence.carried_state import refuse_carried_state
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes, Shapes
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.recurrence.layer_operators import TRANSLATIONS
from rnnserve.export.recurrence.passes import ON_GRAPH, ON_PROGRAM, Export
from rnnserve.export.recurrence.quick_decomposition import decomposed_quickly
from rnnserve.export.recurrence.refusals import DependsOnValues, FixedSize, RaisedInCapture, SizeIsFixed
from rnnserve.export.recurrence.roll import NotRolled, RolledCapture, rolled_capture
from rnnserve.export.recurrence.sizes import ANY_SIZES, Limits, fixes_sizes
from rnnserve.export.recurrence.value_checks import ValueChecks, unchecked
from rnnserve.export.source_lines import first_line, line_of
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.export.torch_adapter import (
    DispatchError,
    OptimizedModule,
    node_in_translation,
    registry_read_once,
    without_printed_graphs,
    written_module,
)

__all__ = ["export_onnx"]

# They report that torchvision is not installed, what was not folded and, with whole graphs, why a module cannot be
# captured, which is in the exception as well.
_LOGGERS = (
    "torch.onnx._internal.exporter",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "onnxscript",
    "onnx_ir",
)


@contextlib.contextmanager
def without_exporter_messages() -> Iterator[None]:
    """Suppress deprecation warnings and messages of torch's exporter, also under `-W error`; errors still raise.

    Where a capture fails, torch.export prints the graph so far: 90 lines before the error with its remedy.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), without_printed_graphs():
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        # torch warns of every attribute that a forward writes; `carried_state` refuses those that matter.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export", UserWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_WRITE = {
    "hypot": "write torch.sqrt(x * x + y * y), or where squares overflow, of both divided by the larger one",
    "searchsorted": "count the boundaries below: (x[..., None] > boundaries).sum(-1), or >= with right=True",
    "bucketize": "count the boundaries below: (x[..., None] > boundaries).sum(-1), or >= with right=True",
    "histc": "compare with the edges of the bins, and sum: ((x[..., None] >= low) & (x[..., None] < high)).sum(-2)",
    "scaled_dot_product_attention": "give it three or four axes: join those before them, x.flatten(0, 1)",
    "lgamma": "compute it outside of the module, or from a table by an embedding, if its argument is an integer",
    "digamma": "compute it outside of the module, or from a table by an embedding, if its argument is an integer",
} | dict.fromkeys(
    (
        *("svd", "qr", "eigh", "eig", "matrix_exp", "lu", "lu_factor", "lstsq", "inv", "inverse", "tensorinv", "pinv"),
        *("solve", "solve_triangular", "triangular_solve", "tensorsolve", "cholesky", "cholesky_solve"),
        "cholesky_inverse",
    ),
    "if the matrix does not depend on the inputs, compute the result once, in __init__, and keep it as a buffer. Else "
    "compute it outside of the module and make it an input",
)
"""By operator, what to write instead."""


def untranslated(error: Exception) -> UnsupportedModule:
    """Turn an error of torch.onnx into one that names the operator without a translation; a translation's own stays."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UnsupportedModule):
        return cause
    node = node_in_translation(error)
    said = first_line(str(cause)).rstrip(".")
    if node is None:
        return UnsupportedModule(
            f"the module was captured, but torch.onnx cannot translate it: {type(cause).__name__}: {said}"
        )
    name = _name(getattr(node.target, "__name__", str(node.target)))
    why = "has no form in ONNX" if isinstance(cause, DispatchError) else f"cannot be translated: {said}"
    advice = _WRITE.get(name, "write it with operators that can: docs/reference/operators.md lists them")
    return UnsupportedModule(f"{name}{line_of(node)} {why}. Instead, {advice}.")


def _name(overload: str) -> str:
    """Name an operator as users do: `_pdist_forward.default` is pdist, `special_i0` i0, `linalg_inv_ex` inv."""
    name = overload.partition(".")[0].strip("_").removesuffix("_forward").removesuffix("_ex")
    return name.removeprefix("special_").removeprefix("bessel_").removeprefix("linalg_")


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

    The module is exported as it is: call `.eval()` first. No other thread may use the module during the export; other
    modules, and PyTorch itself, work as usual in other threads. Sequences may be plain or packed, batch-first or not,
    with or without initial states. `pad_packed_sequence` without `total_length` trims to the longest row, as in eager.
    Layers may be called on `data` of a packed sequence, for another `PackedSequence` that is packed alike.

    Args:
        module: Any module; nn.RNN, nn.GRU and nn.LSTM may be anywhere in it, or nowhere.
        args: Sample arguments for its forward. Only shapes and dtypes matter: the program is right for every size of
            the dynamic axes, and a sample of one row and one step is enough.
        input_names: One name per tensor among `args`, in order. Arguments that are None or plain numbers become part
            of the program.
        output_names: One name per tensor among the results, in order.
        dynamic_shapes: Parallel to `args`, or a dict by the forward's parameter names; at each tensor None or axis ->
            name, such as `{0: "batch", 1: "sequence"}`. DynamicAxes of one name are one size.
        sizes: The smallest and the largest size of an axis that the module takes, by name, where it does not take any:
            {"sequence": (5, 64)}; None for no largest. The module is run at no others, the sample's among them.

    Returns:
        The program, checked: names and axes as asked for, one operator a layer, valid ONNX. It holds no path and no
        stack trace, and the same module gives the same bytes
        (`program.model_proto.SerializeToString(deterministic=True)`).

    Raises:
        WrongArguments: If names, sample and dynamic shapes do not fit the module or each other.
        UnsupportedModule: If the module does something that would be exported wrong; the message says what, where and
            why.
        BrokenPostcondition: If the exporter gave something else than was asked for.
        FailedPass: If a pass of the export fails, whose name the message has.
    """
    if not isinstance(module, nn.Module):
        raise WrongArguments(f"export_onnx got a {type(module).__name__}; expected an nn.Module")
    if isinstance(module, OptimizedModule):
        return export_onnx(
            written_module(module),
            args,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=dynamic_shapes,
            sizes=sizes,
        )
    if not isinstance(args, tuple):
        raise WrongArguments(f"args is a {type(args).__name__}; expected a tuple of the forward's arguments")
    axes = DynamicAxes.of(parameters_of(module, args), args, dynamic_shapes, input_names)
    # One export at a time: neither torch's exporter nor the filters of warnings support several threads.
    with (
        LOCK,
        rare_collections(),
        left_as_they_were(module),
        without_exporter_messages(),
        frozen(module),
        unchecked() as distributions,
    ):
        checks = ValueChecks(module)
        of_any_size = _capture_without_checks(module, args, axes, sizes, checks)
        export = Export(
            module=module,
            args=args,
            axes=axes,
            sizes=sizes,
            input_names=input_names,
            output_names=output_names,
            program=of_any_size.program,
            trials=of_any_size.trials,
            is_stateless=of_any_size.is_stateless,
        )
        with checks.left_out():
            for on_program in ON_PROGRAM:
                on_program(export)
            export.translated = _translate(export.program, input_names)
            for on_graph in ON_GRAPH:
                on_graph(export)
    if distributions:
        warnings.warn(
            f"the exported module does not check the arguments of distributions ({', '.join(sorted(distributions))})",
            stacklevel=2,
        )
    for line in checks.lines:
        warnings.warn(f"the exported module makes no check of values at {line}", stacklevel=2)
    return export.translated


def _capture_without_checks(
    module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Limits, checks: ValueChecks
) -> RolledCapture:
    """Capture a module without the checks of values that stand in the way."""
    while True:
        try:
            with checks.left_out():
                return _capture(module, args, axes, sizes)
        except DependsOnValues as refused:
            if not checks.leave_out(refused):
                raise


def _capture(module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Limits) -> RolledCapture:
    """Capture a module with symbolic sizes; if its code fixes one, from captures at a few fixed sizes."""
    program: torch.export.ExportedProgram | None = None
    refused: UnsupportedModule | None = None
    try:
        program = capture(module, args, axes, sizes, ends_early=True)
    except SizeIsFixed:  # most often by a loop
        pass
    except (FixedSize, RaisedInCapture) as error:
        refused = error
    if program is not None and not fixes_sizes(program):
        return RolledCapture(program, [], is_stateless=False)
    # A state from the call before has that call's batch, so that the capture fixes the batch and cannot say why.
    refuse_carried_state(module, args)
    try:
        return rolled_capture(module, args, axes, sizes)
    except (NotRolled, FixedSize, RaisedInCapture) as error:
        if program is not None:
            return RolledCapture(program, [], is_stateless=True)
        said = error
    try:
        if refused is None:
            capture(module, args, axes, sizes)
    except UnsupportedModule as error:
        refused = error
    if refused is None or (
        isinstance(said, RaisedInCapture) and not (isinstance(refused, FixedSize) and refused.of_batch)
    ):
        raise said
    if isinstance(said, NotRolled):
        raise NotRolled(
            f"a loop of Python is exported as it is if its steps are alike: here {said}. {refused}"
        ) from said
    raise refused from refused.__cause__


def _translate(captured: torch.export.ExportedProgram, input_names: Sequence[str]) -> torch.onnx.ONNXProgram:
    try:
        with registry_read_once(), decomposed_quickly():
            program = torch.onnx.export(
                captured,
                dynamo=True,
                verbose=False,
                input_names=list(input_names),
                custom_translation_table=OPERATORS | TRANSLATIONS,
                # torch's optimizer erases constants of 1e-8 and less; `exact_passes` lists what may run instead.
                optimize=False,
            )
    except ExportError:
        raise
    except Exception as error:
        raise untranslated(error) from error
    assert program is not None  # noqa: S101 - torch gives None for its older exporter only
    return program
