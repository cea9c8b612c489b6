"""Sparse weights, such as an echo state network's reservoir, as dense ones while a module is captured.

torch.export has no values of sparse tensors to trace with, and ONNX has no kernels for them. Dense ones give
the same results but for rounding. The functions that are for sparse tensors take dense ones, too, and fix the number of
rows there, so that those for dense tensors stand in for them.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.recurrence.argument_types import Argument, Arguments

__all__ = ["dense_weights"]

_OF_DENSE: dict[Any, Callable[..., Any]] = {
    torch.sparse.mm: torch.mm,
    torch.sparse.addmm: torch.addmm,
    torch.sspaddmm: torch.addmm,
    torch.smm: torch.mm,
    torch.dsmm: torch.mm,
}


class _DenseFunctionMode(TorchFunctionMode):
    """Replaces functions of sparse tensors in this thread."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, or what computes the same of dense tensors."""
        del types
        return _OF_DENSE.get(func, func)(*args, **kwargs or {})


@contextlib.contextmanager
def dense_weights(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Have sparse parameters, buffers and attributes of modules be dense inside the block, and as they were after it.

    Args:
        modules: Each module whose own ones are meant.
    """
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in modules:
        own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers, module.__dict__)  # noqa: SLF001 - not to register
        for held in own:
            sparse = {name: value for name, value in held.items() if _is_sparse(value)}
            replaced += [(held, name, value) for name, value in sparse.items()]
    try:
        for held, name, value in replaced:
            dense = value.detach().to_dense()
            held[name] = nn.Parameter(dense, requires_grad=False) if isinstance(value, nn.Parameter) else dense
        with _DenseFunctionMode() if replaced else contextlib.nullcontext():
            yield
    finally:
        for held, name, value in replaced:
            held[name] = value


def _is_sparse(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is not torch.strided
