"""Which lines of the user's code fix a dynamic size to a number, noted while torch captures a module."""

import contextlib
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import sympy  # type: ignore[import-untyped]  # a dependency of torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from rnnserve.export.source_lines import is_users_code, source_line

__all__ = ["fixed_sizes_noted"]


@contextlib.contextmanager
def fixed_sizes_noted() -> Iterator[dict[int, str]]:
    """Note what this thread's captures fix in the context: the size, and the line of the user's that did it first.

    torch has no public way to ask for it: its error says which size is fixed, and a log of torch's where.
    """
    noted: dict[int, str] = {}
    before, thread = ShapeEnv._set_replacement, threading.get_ident()  # noqa: SLF001

    def replaces(self: ShapeEnv, symbol: sympy.Symbol, target: sympy.Expr, *rest: Any, **named: Any) -> None:  # noqa: ANN401
        if isinstance(target, sympy.Integer) and int(target) not in noted and threading.get_ident() == thread:
            frames = [frame for frame in traceback.extract_stack() if is_users_code(frame.filename)]
            # The innermost of the user's; a frame without a file is of code that torch has made.
            lines = [frame for frame in frames if frame.filename.endswith(".py")]
            if lines:
                noted[int(target)] = source_line(lines[-1].filename, lines[-1].lineno)
        before(self, symbol, target, *rest, **named)

    ShapeEnv._set_replacement = replaces  # type: ignore[assignment, method-assign]  # noqa: SLF001
    try:
        yield noted
    finally:
        ShapeEnv._set_replacement = before  # type: ignore[method-assign]  # noqa: SLF001
