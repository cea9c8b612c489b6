"""Functions of PyTorch that take the size of an axis as a plain number, so that a capture would fix the axis to it.

`F.one_hot(x, n)` and `torch.linspace(a, b, n)` have `int` in their schemas, not `SymInt`, and `take_along_dim` compares
sizes as numbers. While a module is captured, they are computed by functions that take any size.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.recurrence.argument_types import Argument, Arguments

__all__ = ["SizeFunctionMode"]


class SizeFunctionMode(TorchFunctionMode):
    """Replaces such functions in this thread, where the size is one that is dynamic."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, or what computes the same for any size."""
        del types
        kwargs = kwargs or {}
        if func in _STAND_INS and any(isinstance(each, torch.SymInt) for each in (*args, *kwargs.values())):
            return _STAND_INS[func](*args, **kwargs)
        if func in (torch.take_along_dim, Tensor.take_along_dim):
            return _take_along_dim(*args, **kwargs)
        return func(*args, **kwargs)


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).to(torch.int64)


def _linspace(
    start: float, end: float, steps: int, *, dtype: torch.dtype | None = None, device: Argument = None, **more: Argument
) -> Tensor:
    """Compute it from both ends to the middle, as PyTorch does; one step is `start`."""
    dtype = dtype or torch.get_default_dtype()
    del more  # layout, pin_memory and requires_grad, which change no value
    at = torch.arange(steps, device=device)
    last = torch.full((), steps, device=device) - 1
    first, final = (torch.as_tensor(each, dtype=dtype, device=device) for each in (start, end))
    step = (final - first) / last.clamp(min=1).to(dtype)
    from_end = final - step * (last - at).to(dtype)
    return torch.where(at < ((last + 1) // 2).clamp(min=1), first + step * at.to(dtype), from_end)


def _take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Gather along an axis, all others of sizes that fit, as in arithmetic."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    dim %= input.dim()
    pairs = list(zip(input.shape, indices.shape, strict=True))
    shared = [other if isinstance(one, int) and one == 1 else one for one, other in pairs]
    values = input.expand([*shared[:dim], input.shape[dim], *shared[dim + 1 :]])
    return values.gather(dim, indices.expand([*shared[:dim], indices.shape[dim], *shared[dim + 1 :]]))


_STAND_INS: dict[Any, Callable[..., Tensor]] = {F.one_hot: _one_hot, torch.linspace: _linspace}
