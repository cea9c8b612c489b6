"""Running a module on tensors without values: what it does with sizes, at the cost of a few milliseconds."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from rnnserve.export.recurrence.capture import prepared
from rnnserve.export.recurrence.kinds import Arguments

__all__ = ["dry_run"]


@contextlib.contextmanager
def dry_run(module: nn.Module, args: Arguments) -> Iterator[Arguments]:
    """Surroundings in which the module can be called with the arguments given, which are `args` without values.

    Sizes are plain numbers there, but for those that come of values: trimming to the longest row has a symbol.
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
