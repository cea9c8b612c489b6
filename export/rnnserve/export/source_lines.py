"""Lines of the user's code, for messages: of a stack, and of the nodes of a captured program."""

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

_ARITHMETIC = ("sympy", "mpmath", "numpy")  # what torch computes sizes with, in a capture, too
_SPECS = (importlib.util.find_spec(name) for name in _ARITHMETIC)
_FOLDERS = (torch.__file__, __file__, *(spec.origin for spec in _SPECS if spec is not None and spec.origin))
# With a separator at the end: torchaudio and torchcrf are not torch.
_NOT_THE_USERS = tuple(f"{pathlib.Path(each).parent}{os.sep}" for each in _FOLDERS)
_STANDARD = f"{sysconfig.get_path('stdlib')}{os.sep}"
_INSTALLED = ("site-packages", "dist-packages")  # folders of packages, within the standard library's


def is_users_code(filename: str) -> bool:
    """Whether a file is the user's, or a package's that the user chose.

    Code of torch, of this package, of what torch computes sizes with, and of Python's own library is not.
    """
    if filename.startswith(_NOT_THE_USERS):
        return False
    rest = filename.removeprefix(_STANDARD)
    return rest == filename or rest.startswith(_INSTALLED)


def is_users_class(kind: type | types.ModuleType) -> bool:
    """Whether a class, or a module of Python, is of a file of the user's, or of a package that the user chose."""
    name = kind.__name__ if isinstance(kind, types.ModuleType) else kind.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and is_users_code(file)


def source_line(filename: str, line: int | None) -> str:
    """Name a line of code: the file without its folder, unless all packages have such a file, and the number."""
    path = pathlib.PurePath(filename)
    name = f"{path.parent.name}/{path.name}" if path.name == "__init__.py" else path.name
    return f"{name}:{line}"


def first_line(text: str) -> str:
    """Return the first line of another library's message that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def line_of(node: torch.fx.Node) -> str:
    """Name the user's line that a node comes from, as " (at file.py:12)"; empty where torch has not kept it."""
    return line_of_trace(node.meta)


def line_of_trace(meta: Mapping[str, Any]) -> str:
    """Name the user's line in what a node holds, as `line_of`."""
    for frame in reversed(str(meta.get("stack_trace") or "").splitlines()):
        if frame.strip().startswith("File "):
            file, _, rest = frame.strip().removeprefix("File ").partition(", line ")
            filename = file.strip('"')
            if is_users_code(filename):
                return f" (at {source_line(filename, int(rest.partition(',')[0]))})"
    return ""
