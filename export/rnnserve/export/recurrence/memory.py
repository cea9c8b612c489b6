"""Whether a module remembers: whether a call reads what the call before it wrote to an attribute.

An ONNX model remembers nothing, so a module that carries its hidden state in an attribute would be right in its first
call only. One that merely leaves something there to be looked at (attention weights, say) is exported as it is.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dry import dry_run
from rnnserve.export.recurrence.kinds import Argument, Arguments

__all__ = ["refuse_memory"]

# PyTorch's own bookkeeping, which changes whenever parameters are exchanged.
_BOOKKEEPING = {"_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"}


class _Reads(TorchFunctionMode):
    """Notices when one of the given tensors is used."""

    def __init__(self, written: dict[int, str]) -> None:
        super().__init__()
        self.written = written
        self.read: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, noting what it reads."""
        del types
        for leaf in torch.utils._pytree.tree_leaves((args, kwargs)):  # noqa: SLF001
            if isinstance(leaf, Tensor) and id(leaf) in self.written:
                self.read.add(self.written[id(leaf)])
        return func(*args, **(kwargs or {}))


def refuse_memory(module: nn.Module, args: Arguments) -> None:
    """Call the module twice, on tensors without values, where it writes to its attributes.

    Raises:
        UnsupportedModule: the second call reads what the first has written.
    """
    read: set[str] = set()
    # Whatever a module raises when it is called without values, it is no answer to this question: the capture, with
    # symbols in the place of values, has succeeded.
    with contextlib.suppress(Exception), dry_run(module, args) as fakes:
        before = _attributes(module)
        module(*fakes)
        written = {
            id(leaf): name
            for name, value in _attributes(module).items()
            if value is not before.get(name)
            for leaf in torch.utils._pytree.tree_leaves(value)  # noqa: SLF001
            if isinstance(leaf, Tensor)
        }
        if written:
            with _Reads(written) as reads:
                module(*fakes)
            read = reads.read
    if read:
        raise UnsupportedModule(
            f"the module keeps {sorted(read)} from one call to the next, and an ONNX model remembers nothing. Make the "
            "state an input (h_0) and an output (h_n) of the forward, and carry it outside."
        )


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {
        f"{name}.{attribute}" if name else attribute: value
        for name, submodule in module.named_modules()
        for attribute, value in submodule.__dict__.items()
        if attribute not in _BOOKKEEPING
    }
