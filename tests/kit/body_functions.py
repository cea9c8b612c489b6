"""What the process that reads large bodies is told to call: a module that takes little to import."""

import os

__all__ = ["allocate", "end_by", "process_of"]


def process_of(body: bytes) -> tuple[int, int]:
    """The process, and the size of the body."""
    return os.getpid(), len(body)


def end_by(body: bytes, number: int) -> None:
    """End this process by a signal."""
    os.kill(os.getpid(), number)


def allocate(body: bytes, size: int) -> int:
    """Take so many bytes."""
    return len(bytearray(size))
