"""Types of what the user's own code passes: known only at run time, so checked where it is used."""

from typing import Any, TypeAlias

__all__ = ["Argument", "Arguments", "Shapes"]

Argument: TypeAlias = Any
"""One argument of a function that the user's module calls."""

Arguments: TypeAlias = tuple[Any, ...]
"""The arguments of a forward: tensors, nested tuples, lists and dicts of them, None, plain numbers."""

Shapes: TypeAlias = Any
"""Dynamic shapes as torch.export takes them: parallel to the arguments, at each tensor None or axis -> name."""
