"""What the process that reads large bodies is told to call: a module that takes little to import."""

import os

from rnnserve.web.errors import RestError

__all__ = ["allocate", "end_by", "fill_and_refuse", "process_of", "refuse"]


def process_of(body: bytes) -> tuple[int, int]:
    """The process, and the size of the body."""
    return os.getpid(), len(body)


def end_by(body: bytes, number: int) -> None:
    """End this process by a signal."""
    os.kill(os.getpid(), number)


def allocate(body: bytes, size: int) -> int:
    """Take so many bytes."""
    return len(bytearray(size))


def refuse(body: bytes) -> None:
    """Refuse the body."""
    raise RestError(418, "said", headers={"a": "b"})


def fill_and_refuse(body: bytes, size: int) -> None:
    """Take memory, and refuse the body: what a function holds then is to be free at the next one."""
    held = bytearray(b"1") * size
    raise RestError(400, f"{len(body)} and {len(held)} bytes")
