"""Capturing a module with torch.export, with a stand-in operator for each recurrent layer."""

import contextlib
import inspect
from collections.abc import Iterator

import torch
from torch import nn

from rnnserve.export.errors import ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.recurrence.dynamic_axes import ANY_SIZES, Arguments, DynamicAxes, Limits, resize
from rnnserve.export.recurrence.held_values import HeldValueMode
from rnnserve.export.recurrence.interception import intercepted, without_caches
from rnnserve.export.recurrence.program_passes import refuse_writes, remove_zero_states
from rnnserve.export.recurrence.refusals import (
    FixedSize,
    SizeIsFixed,
    explain,
    fixed_size,
    fixed_sizes_noted,
    keeps_state,
    refuse_random_numbers,
    refuse_scripts,
)
from rnnserve.export.recurrence.scan import CaptureSession
from rnnserve.export.surroundings import restoring
from rnnserve.export.torch_adapter import backed_sizes_of_any_value, compiled_as_written
from rnnserve.protos.protocol_words import BATCH

__all__ = ["capture", "parameters_of", "prepared"]

_MORE_ROWS = 4  # rows added for a second capture, if the first was refused for the rows that the module stores


def parameters_of(module: nn.Module, args: Arguments) -> list[str]:
    """List the forward's parameters that receive `args`, in order, with `*name` for each variadic argument."""
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(*args)
    except TypeError as mismatch:
        raise WrongArguments(
            f"the module's forward{signature} cannot be called with {len(args)} arguments: {mismatch}"
        ) from None
    names = []
    for name, value in bound.arguments.items():
        variadic = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        names.extend([f"*{name}"] * len(value) if variadic else [name])
    return names


def capture(
    module: nn.Module, args: Arguments, axes: DynamicAxes, limits: Limits = ANY_SIZES, *, more_rows: int = 0
) -> torch.export.ExportedProgram:
    """Capture a module with a stand-in operator for each recurrent layer, and refuse what can't be exported."""
    # torch.export would treat a sample of one row or one step as a special case.
    larger = {name: number + 2 for number, (name, size) in enumerate(sorted(axes.sizes.items())) if size == 1}
    larger |= {BATCH: larger.get(BATCH, axes.sizes[BATCH]) + more_rows} if more_rows else {}
    larger = {name: min(size, limits.get(name, (1, None))[1] or size) for name, size in larger.items()}
    captured = {**axes.sizes, **larger}
    ending = {size for size in captured.values() if size != captured.get(BATCH)}
    refuse_scripts(module)
    refused: ExportError | None = None
    with prepared(module) as held, backed_sizes_of_any_value(), fixed_sizes_noted(ending) as fixed:
        try:
            program = torch.export.export(module, resize(args, axes, larger), dynamic_shapes=axes.shapes, strict=False)
        except SizeIsFixed:
            raise fixed_size(module, axes, fixed) from None
        except Exception as error:  # torch's errors and the module's own: `explain` has a message for each
            refused = explain(error, module, axes, fixed)
            if not (isinstance(refused, FixedSize) and refused.of_batch) or more_rows:
                raise refused from error
            refused.__cause__ = error
    if refused is not None:
        # The stored rows may be left over from an earlier call, and the module may recreate them for other sizes. In
        # this case a second capture with more rows works, and `value_trials` verifies its values.
        with contextlib.suppress(UnsupportedModule):
            return capture(module, args, axes, limits, more_rows=_MORE_ROWS)
        raise refused from refused.__cause__
    refuse_random_numbers(program.graph, module)
    if written := held.asked & held.changed:
        raise keeps_state(written)  # the next call may take another code path
    refuse_writes(program.graph)
    remove_zero_states(program.graph)
    program.graph_module.recompile()
    return program


@contextlib.contextmanager
def prepared(module: nn.Module) -> Iterator[HeldValueMode]:
    """Replace PyTorch's code with our stand-ins in the context, and restore the module's attributes afterwards.

    Yields the record of the module's own values that its Python code reads.
    """
    restore = restoring(module, values=False)
    with (
        intercepted(),
        CaptureSession(module).opened(),
        torch.no_grad(),
        HeldValueMode(module).of_calls() as held_values,
        without_caches(module),
        compiled_as_written(),
    ):
        try:
            yield held_values
        finally:
            for again in restore:
                again()
