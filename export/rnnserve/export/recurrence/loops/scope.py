"""What names mean in a function that is rewritten, and the names that rewriting adds."""

import ast
import builtins
import itertools
import types
from collections.abc import Iterable

import torch

from rnnserve.export.recurrence.loops.hooks import HOOKED

__all__ = ["HOOKS", "Scope", "hook_call"]

HOOKS = "__rnnserve_hooks"
"""Name of the module of hooks in a rewritten function."""


class Scope:
    """Names of one function, and of those within it.

    Args:
        function: The function.

    Attributes:
        file: Its file.
        own: Names of the innermost function's own variables.
    """

    def __init__(self, function: types.FunctionType) -> None:
        self.file = function.__code__.co_filename
        self._free = set(function.__code__.co_freevars)
        self._globals = function.__globals__
        self._names: list[set[str]] = []
        self._numbers = itertools.count(1)

    @property
    def own(self) -> set[str]:
        """Names of the innermost function's own variables; to be added to."""
        return self._names[-1]

    def enter(self, names: Iterable[str]) -> None:
        """Begin a function with its own variables."""
        self._names.append(set(names))

    def leave(self) -> None:
        """End it."""
        self._names.pop()

    def fresh(self, what: str) -> str:
        """Give a new name."""
        return f"__rnnserve_{what}_{next(self._numbers)}"

    def is_hooked(self, name: str) -> bool:
        """Whether a name is a function of Python here that has a hook."""
        return name in HOOKED and hasattr(builtins, name) and name not in self._globals and not self._is_local(name)

    def is_cat(self, node: ast.expr) -> bool:
        """Whether an expression is `torch.cat`, under whatever name the file has for it."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path, node = [node.attr, *path], node.value
        if not isinstance(node, ast.Name) or self._is_local(node.id):
            return False
        found = self._globals.get(node.id)
        for name in path:
            found = getattr(found, name, None)
        return any(found is each for each in (torch.cat, torch.concat, torch.concatenate))

    def _is_local(self, name: str) -> bool:
        return name in self._free or any(name in names for names in self._names)


def hook_call(name: str, *arguments: ast.expr) -> ast.Call:
    """Call a function of `hooks`."""
    function = ast.Attribute(ast.Name(HOOKS, ast.Load()), name, ast.Load())
    call = ast.Call(function, list(arguments), [])
    return ast.copy_location(call, arguments[0]) if hasattr(arguments[0], "lineno") else call
