"""Find lines of the user's code for messages, from stack frames and from the nodes of a captured program."""

import importlib.util
import os
import pathlib
import sys
import sysconfig
import types
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["first_line", "is_users_class", "is_users_code", "line_of", "line_of_trace", "source_line"]

_ARITHMETIC = ("sympy", "mpmath", "numpy")  # torch computes sizes with them, also during capture
_SPECS = (importlib.util.find_spec(name) for name in _ARITHMETIC)
_FOLDERS = (torch.__file__, __file__, *(spec.origin for spec in _SPECS if spec is not None and spec.origin))
# The folders end with a separator, because torchaudio and torchcrf aren't torch.
_NOT_THE_USERS = tuple(f"{pathlib.Path(each).parent}{os.sep}" for each in _FOLDERS)
_STANDARD = f"{sysconfig.get_path('stdlib')}{os.sep}"
_INSTALLED = ("site-packages", "dist-packages")  # package folders inside the standard library's folder


def is_users_code(filename: str) -> bool:
    """Whether a file belongs to the user or to a package that the user chose.

    Files of torch, of this package, of the libraries that torch computes sizes with, and of Python's standard library
    don't count.
    """
    if filename.startswith(_NOT_THE_USERS):
        return False
    rest = filename.removeprefix(_STANDARD)
    return rest == filename or rest.startswith(_INSTALLED)


def is_users_class(kind: type | types.ModuleType) -> bool:
    """Whether a class or Python module belongs to the user or to a package that the user chose."""
    name = kind.__name__ if isinstance(kind, types.ModuleType) else kind.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and is_users_code(file)


def source_line(filename: str, line: int | None) -> str:
    """Format a line of code as file name and line number. A file `__init__.py` keeps its folder."""
    path = pathlib.PurePath(filename)
    name = f"{path.parent.name}/{path.name}" if path.name == "__init__.py" else path.name
    return f"{name}:{line}"


def first_line(text: str) -> str:
    """Return the first line with text in another library's message."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def line_of(node: torch.fx.Node) -> str:
    """Return the user's line for a node, as " (at file.py:12)". Empty if torch hasn't recorded it."""
    return line_of_trace(node.meta)


def line_of_trace(meta: Mapping[str, Any]) -> str:
    """Return the user's line for a node's metadata, in the form of `line_of`."""
    for frame in reversed(str(meta.get("stack_trace") or "").splitlines()):
        if frame.strip().startswith("File "):
            file, _, rest = frame.strip().removeprefix("File ").partition(", line ")
            filename = file.strip('"')
            if is_users_code(filename):
                return f" (at {source_line(filename, int(rest.partition(',')[0]))})"
    return ""
