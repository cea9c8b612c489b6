"""Running a module on tensors without values (torch's FakeTensor): what it does with sizes, in a few milliseconds."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from rnnserve.export.recurrence.argument_types import Arguments
from rnnserve.export.recurrence.capture import prepared

__all__ = ["fake_arguments"]


@contextlib.contextmanager
def fake_arguments(module: nn.Module, args: Arguments) -> Iterator[Arguments]:
    """Give `args` without values; within the context, the module can be called with them.

    Sizes are plain numbers, except those that depend on values: trimming to the longest row gives a symbol.
    """
    with (
        prepared(module),
        FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True) as mode,
        enable_python_dispatcher(),
    ):
        fakes: Arguments = torch.utils._pytree.tree_map_only(  # noqa: SLF001
            Tensor, lambda tensor: mode.from_tensor(tensor, static_shapes=True), args
        )
        yield fakes
