"""What the functions of a file have at places that a capture was refused for: checks, branches."""

import ast
import types
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from rnnserve.export.recurrence.loops.rewriting import SourceFile

__all__ = ["at_places"]

T = TypeVar("T")


def at_places(
    file: SourceFile,
    functions: Sequence[types.FunctionType],
    places: Collection[tuple[str, int]],
    find: Callable[[ast.FunctionDef, int], T | None],
) -> Iterator[tuple[types.FunctionType, ast.FunctionDef, list[T]]]:
    """Give the functions that have something at a place, each with its node and what it has.

    Args:
        file: Source file of the functions.
        functions: Functions of the file.
        places: Files and lines.
        find: Function that gives what a node has at a line; None where it has nothing.
    """
    for function in functions:
        node = file.node(function)
        if node is None:
            continue
        lines = [line for name, line in places if name == function.__code__.co_filename]
        found = [each for line in lines if (each := find(node, line)) is not None]
        if found:
            yield function, node, found
