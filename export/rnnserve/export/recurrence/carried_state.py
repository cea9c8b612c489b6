"""Refusing modules that carry state: whether a call reads what the call before it wrote to an attribute.

An ONNX model keeps no state between runs, so a module that carries its hidden state in an attribute would be right in
its first call only. A module that only stores values for others to read (attention weights, for example) is exported.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.held_modules import held_modules
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.fake_tensors import fake_arguments

__all__ = ["refuse_carried_state"]

# PyTorch's own attributes, which change whenever parameters are replaced.
_BOOKKEEPING = {"_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"}


class _ReadRecorder(TorchFunctionMode):
    """Records which of the given tensors are used; `written` is `id` of a tensor -> the attribute that holds it."""

    def __init__(self, written: dict[int, str]) -> None:
        super().__init__()
        self.written = written
        self.read: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` and record what it reads."""
        del types
        for leaf in torch.utils._pytree.tree_leaves((args, kwargs)):  # noqa: SLF001
            if isinstance(leaf, Tensor) and id(leaf) in self.written:
                self.read.add(self.written[id(leaf)])
        return func(*args, **(kwargs or {}))


def refuse_carried_state(module: nn.Module, args: Arguments) -> None:
    """Call the module on tensors without values and, if it writes to its attributes, call it again.

    Raises:
        UnsupportedModule: If the second call reads what the first has written.
    """
    read: set[str] = set()
    # An error here says nothing of carried state: the module is called without values, and the capture, with symbols
    # in place of values, has succeeded.
    with contextlib.suppress(Exception), fake_arguments(module, args) as fakes:
        before = _attributes(module)
        module(*fakes)
        after = _attributes(module)  # kept for the second call, so that no new tensor has the `id` of one of these
        written = {
            id(leaf): name
            for name, leaves in after.items()
            for leaf in leaves
            if isinstance(leaf, Tensor) and all(leaf is not old for old in before.get(name, ()))
        }
        if written:
            with _ReadRecorder(written) as recorder:
                module(*fakes)
            read = recorder.read
    if read:
        raise UnsupportedModule(
            f"the module keeps {sorted(read)} from one call to the next, and an ONNX model keeps no state. "
            f"Publish it with state_attributes={sorted(read)}, which makes an input and an output of each; or make the "
            'state an input (h_0) and an output (h_n) of the forward, and publish it with states={"h_n": "h_0"}: '
            "clients carry it from call to call."
        )


def _attributes(module: nn.Module) -> dict[str, list[Any]]:
    """Give what attributes hold, or the lists and dicts that they are, which a forward may write to in place."""
    return {
        f"{name}.{attribute}" if name else attribute: torch.utils._pytree.tree_leaves(value)  # noqa: SLF001
        for name, submodule in held_modules(module).items()
        for attribute, value in submodule.__dict__.items()
        if attribute not in _BOOKKEEPING
    }
