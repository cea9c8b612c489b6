"""Lines of the user's code, for messages: of a stack, and of the nodes of a captured program."""

import pathlib

import torch

__all__ = ["first_line", "is_users_code", "line_of", "source_line"]

_NOT_THE_USERS = (str(pathlib.Path(torch.__file__).parent), str(pathlib.Path(__file__).parent))


def is_users_code(filename: str) -> bool:
    """Tell whether a file is the user's: neither torch's nor this package's."""
    return not filename.startswith(_NOT_THE_USERS)


def source_line(filename: str, line: int | None) -> str:
    """Name a line of code: the file without its folder, and the number."""
    return f"{pathlib.PurePath(filename).name}:{line}"


def first_line(text: str) -> str:
    """Give the first line of another library's message that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def line_of(node: torch.fx.Node) -> str:
    """Name the user's line that a node comes from, as " (at file.py:12)"; empty where torch has not kept it."""
    for frame in reversed(str(node.meta.get("stack_trace") or "").splitlines()):
        if frame.strip().startswith("File "):
            file, _, rest = frame.strip().removeprefix("File ").partition(", line ")
            filename = file.strip('"')
            if is_users_code(filename):
                return f" (at {source_line(filename, int(rest.partition(',')[0]))})"
    return ""
