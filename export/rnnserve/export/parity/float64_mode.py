"""Running a module in float64 whose own code makes tensors of float32: `torch.zeros(n)`, `mask.float()`, `dtype=`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Float64Mode"]

_ATTRIBUTES = ("__get__", "__set__")
"""Functions that read and set attributes of tensors, which compute nothing."""


class Float64Mode(TorchFunctionMode):
    """Makes float64 of each float32 that a function of torch is given, is asked for, or gives.

    A module's parameters become float64 by `.double()`, and its inputs are given so; a state that forward begins with
    zeros, or a mask that it makes floats of, is float32 all the same, and most operators take no two types.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as torch declares it
        """Run a function."""
        if func is Tensor.float:
            return args[0].double()
        named = kwargs or {}
        if getattr(func, "__name__", "") in _ATTRIBUTES:
            return func(*args, **named)
        return _wider(func(*map(_wider, args), **{name: _wider(value) for name, value in named.items()}))


def _wider(value: Any) -> Any:  # noqa: ANN401 - any argument
    """Give what is float32 as float64: a tensor, a type, what a list, a tuple or a named one holds."""
    if isinstance(value, Tensor):
        return value.double() if value.dtype == torch.float32 else value
    if isinstance(value, list | tuple):
        items = list(map(_wider, value))
        if all(one is other for one, other in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return torch.float64 if value is torch.float32 else value
