"""Names of folders in a repository: `<repository>/<model>/<version>`."""

import re

__all__ = ["is_model_name", "version_number"]

_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_model_name(name: str) -> bool:
    """Tell whether a model in a repository may have this name.

    It holds ASCII letters and digits, `_`, `.` and `-`, and does not start with `.` or `-`. So it is a single part of a
    path, is not hidden, is not read as an option of a command, and needs no quoting in config.pbtxt.
    """
    return _MODEL.fullmatch(name) is not None


def version_number(name: str) -> int | None:
    """Read the number of a version from the name of its folder.

    Returns:
        The number, 1 or more. None if the name isn't a version's: 007 isn't, because each version has one name.
    """
    if not (name.isascii() and name.isdigit()) or name.startswith("0"):
        return None
    return int(name)
