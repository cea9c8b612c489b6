"""Which processes run, and which have started others. Any of them may end while it is looked at."""

import contextlib
from pathlib import Path

_GONE = (FileNotFoundError, ProcessLookupError)
"""What a look at a process, or a thread, meets that ends before its file is opened, and before it is read."""


def is_running(pid: int) -> bool:
    """Whether a process runs. One that has ended and is still to be waited for does not."""
    with contextlib.suppress(*_GONE):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children_of(pid: int, words: bytes = b"") -> list[int]:
    """The processes that run and that a process has started, on any of its threads.

    Args:
        pid: Number of the process.
        words: Words that their command lines have to have; the arguments end with a zero byte each.
    """
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(*_GONE):
            found += map(int, (thread / "children").read_text().split())
    return [child for child in found if is_running(child) and _has_words(child, words)]


def _has_words(pid: int, words: bytes) -> bool:
    with contextlib.suppress(*_GONE):
        return words in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
