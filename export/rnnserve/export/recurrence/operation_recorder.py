"""Recording which operations Python code runs, to compare two runs of the same code."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.recurrence.argument_types import Argument, Arguments

__all__ = ["OperationRecorder"]


class OperationRecorder(TorchFunctionMode):
    """Records torch's functions and their arguments in this thread.

    Args:
        numbered: A function that has another number in each call; of its arguments, only tensors are recorded.

    """

    def __init__(self, numbered: Callable[..., Any]) -> None:
        super().__init__()
        self._numbered = numbered
        self._operations: list[tuple[Any, ...]] = []
        self._made: dict[int, int] = {}
        self._alive: list[Tensor] = []  # so that no `id` is used again

    @property
    def operations(self) -> list[tuple[Any, ...]]:
        """Each function and its arguments.

        Numbers and texts are as they are, tensors that a recorded function has made are their number, other tensors
        `id`, and sizes what they are now: an operation may have fixed one that was a symbol when it was recorded.
        """
        return [
            tuple(repr(each) if isinstance(each, torch.SymInt) else each for each in operation)
            for operation in self._operations
        ]

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` and record it."""
        del types
        leaves = torch.utils._pytree.tree_leaves((args, kwargs))  # noqa: SLF001
        if func is self._numbered:
            leaves = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self._operations.append((func, *(self._name(leaf) for leaf in leaves)))
        result = func(*args, **(kwargs or {}))
        for leaf in torch.utils._pytree.tree_leaves(result):  # noqa: SLF001
            if isinstance(leaf, Tensor):
                self._made.setdefault(id(leaf), len(self._made))
                self._alive.append(leaf)
        return result

    def _name(self, leaf: Argument) -> Argument:
        if isinstance(leaf, Tensor):
            self._alive.append(leaf)
            made = self._made.get(id(leaf))
            return ("outside", id(leaf)) if made is None else ("made", made)
        if isinstance(leaf, torch.SymInt):
            return leaf
        known = isinstance(leaf, int | float | str | torch.dtype | None)
        return repr(leaf) if known else type(leaf).__name__
