"""`torch.max_pool1d` during a capture: as pooling of images of one row, which torch.export does not fix to one length.

torch has no kernel of its own for it and takes it apart in C++, which makes the sample's length a constant.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument

__all__ = ["POOLING"]


def _max_pool1d(
    input: Tensor,
    kernel_size: Argument,
    stride: Argument = None,
    padding: Argument = 0,
    dilation: Argument = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if return_indices:
        _with_indices()
    kernel = _number(kernel_size)
    step = kernel if stride is None or stride == [] else _number(stride)
    return torch.max_pool2d(
        input.unsqueeze(-2),
        (1, kernel),
        (1, step),
        (0, _number(padding)),
        (1, _number(dilation)),
        ceil_mode,
    ).squeeze(-2)


def _number(value: Argument) -> int:
    """Take the number of an argument that may be a number or a list of one."""
    return int(value[0]) if isinstance(value, tuple | list) else value


def _with_indices(*_: object, **__: object) -> NoReturn:
    raise UnsupportedModule(
        "max_pool1d with return_indices=True cannot be exported right: which of equal values it names is left open. "
        "Use the values alone, or x.unfold(-1, kernel_size, stride) and argmax(-1)"
    )


POOLING: dict[Any, Callable[..., Any]] = {
    torch.max_pool1d: _max_pool1d,
    torch.nn.functional.max_pool1d: _max_pool1d,
    torch.max_pool1d_with_indices: _with_indices,
    torch.nn.functional.max_pool1d_with_indices: _with_indices,
}
"""By the function that user code calls, what runs in its place."""
