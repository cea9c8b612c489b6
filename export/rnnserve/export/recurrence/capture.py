"""From a module to a captured program, with the recurrent layers replaced by stand-ins."""

import contextlib
import inspect
from collections.abc import Iterator

import torch
import torch.fx.experimental._config
from torch import nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence import session
from rnnserve.export.recurrence.axes import Axes, resize
from rnnserve.export.recurrence.functional import Functional
from rnnserve.export.recurrence.interception import intercepted
from rnnserve.export.recurrence.kinds import Arguments
from rnnserve.export.recurrence.refusals import explain, refuse_chance, refuse_scripts
from rnnserve.export.recurrence.zeros import leave_out_zeros

__all__ = ["capture", "frozen", "parameters_of", "prepared"]


def parameters_of(module: nn.Module, args: Arguments) -> list[str]:
    """The names of the forward's parameters that `args` are given to, in order; `*name` for each of a variadic one.

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
        names.extend([f"*{name}"] * len(value) if variadic else [name])
    return names


def capture(module: nn.Module, args: Arguments, axes: Axes) -> torch.export.ExportedProgram:
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
    refuse_scripts(module)
    with prepared(module), backed_sizes_of_any_value():
        try:
            program = torch.export.export(module, resize(args, axes, larger), dynamic_shapes=axes.shapes, strict=False)
        except Exception as error:  # torch's own and the module's alike: each is explained
            raise explain(error, module, axes) from error
    refuse_chance(program)
    leave_out_zeros(program.graph)
    program.graph_module.recompile()
    return program


def backed_sizes_of_any_value() -> contextlib.AbstractContextManager[None]:
    """Do not take for granted that dynamic sizes are 2 or more, as torch.onnx does not either."""
    context: contextlib.AbstractContextManager[None] = torch.fx.experimental._config.patch(  # type: ignore[attr-defined]  # noqa: SLF001
        backed_size_oblivious=True
    )
    return context


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No parameter wants a gradient meanwhile, since a forward may enable gradients and the stand-ins have none."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def prepared(module: nn.Module) -> Iterator[None]:
    """The surroundings in which the module's forward meets our stand-ins; its attributes are as before afterwards."""
    attributes = [(submodule, dict(submodule.__dict__)) for submodule in module.modules()]
    with intercepted(), session.opened(module), torch.no_grad(), Functional():
        try:
            yield
        finally:
            for submodule, before in attributes:
                now = submodule.__dict__
                for name in now.keys() - before.keys():
                    del now[name]
                now.update({name: value for name, value in before.items() if now.get(name, now) is not value})
