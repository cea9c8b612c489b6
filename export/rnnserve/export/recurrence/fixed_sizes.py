"""Which lines of the user's code fix a dynamic size to a number, noted while torch captures a module."""

import contextlib
import threading
import traceback
from collections.abc import Collection, Iterator
from typing import NamedTuple

import sympy  # type: ignore[import-untyped]  # a dependency of torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from rnnserve.export.source_lines import is_users_code, source_line
from rnnserve.export.torch_adapter import replacements_seen

__all__ = ["Fixed", "SizeIsFixed", "fixed_sizes_noted"]


class SizeIsFixed(BaseException):
    """A capture has ended at the line that fixes a size. No `except Exception` of the user's or torch's takes it."""


class Fixed(NamedTuple):
    """What has fixed a size.

    Attributes:
        line: Line of the user's code, as "file.py:12"; empty where none was seen.
        code: What is written there, where the file can be read.
        function: Name of the function that it is in.
        by_number: Whether it makes a plain number of the size: `int(x.size(1))`.
        axis: Which axis of an argument it is; None where the size is computed of others.
    """

    line: str = ""
    code: str = ""
    function: str = ""
    by_number: bool = False
    axis: int | None = None

    def __str__(self) -> str:
        """Give the place for a message, " (at file.py:12, 'n = int(x.size(1))')"; nothing where none was seen."""
        shown = f", {self.code!r}" if self.code else ""
        return f" (at {self.line}{shown})" if self.line else ""


@contextlib.contextmanager
def fixed_sizes_noted(ending: Collection[int] = ()) -> Iterator[dict[int, Fixed]]:
    """Note what this thread's captures fix in the context: the size, and the line of the user's that did it first.

    torch has no public way to ask for it: a log of torch's says where.

    Args:
        ending: Sizes at which a capture ends, unless the line makes a plain number of one.

    Raises:
        SizeIsFixed: If one of these is fixed.
    """
    noted: dict[int, Fixed] = {}
    thread = threading.get_ident()

    def see(self: ShapeEnv, symbol: sympy.Symbol, target: sympy.Expr) -> None:
        if isinstance(target, sympy.Integer) and int(target) not in noted and threading.get_ident() == thread:
            stack = traceback.extract_stack()
            # The innermost of the user's; a frame without a file is of code that torch has made.
            users = [
                at for at, each in enumerate(stack) if is_users_code(each.filename) and each.filename.endswith(".py")
            ]
            if users:
                line, called = stack[users[-1]], stack[users[-1] + 1]
                noted[int(target)] = Fixed(
                    source_line(line.filename, line.lineno),
                    (line.line or "").strip(),
                    line.name,
                    by_number=called.name == "__int__",
                    axis=next((each.idx for each in self.var_to_sources.get(symbol, []) if hasattr(each, "idx")), None),
                )
                if int(target) in ending and not noted[int(target)].by_number:
                    raise SizeIsFixed

    with replacements_seen(see):
        yield noted
