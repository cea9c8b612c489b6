"""From a module to a captured program, with the recurrent layers replaced by stand-ins."""

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from rnnserve.export.errors import ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.recurrence import session
from rnnserve.export.recurrence.axes import Axes, resize
from rnnserve.export.recurrence.interception import intercepted

__all__ = ["capture", "parameters_of"]


def parameters_of(module: nn.Module, args: tuple[Any, ...]) -> list[str]:
    """The names of the forward's parameters that `args` are given to, in order.

    Raises:
        WrongArguments: the forward does not take that many.
    """
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
        names.extend([f"{name}_{number}" for number in range(len(value))] if variadic else [name])
    return names


def capture(module: nn.Module, args: tuple[Any, ...], axes: Axes) -> torch.export.ExportedProgram:
    """Capture `module` with its recurrent layers as stand-ins.

    Args:
        module: the module; as it is, in training or evaluation mode.
        args: the sample arguments. Only their shapes and dtypes matter.
        axes: which of their axes are dynamic.

    Raises:
        UnsupportedModule: the module cannot be captured for every size of its dynamic axes.
    """
    # A sample of one row or one step would be captured as the special case that it is.
    larger = {name: number + 2 for number, (name, size) in enumerate(sorted(axes.sizes.items())) if size == 1}
    with prepared(module):
        return torch.export.export(module, resize(args, axes, larger), dynamic_shapes=axes.shapes, strict=False)


@contextlib.contextmanager
def prepared(module: nn.Module) -> Iterator[None]:
    """The surroundings in which the module's forward meets our stand-ins."""
    with intercepted(), session.opened(module), torch.no_grad():
        yield
