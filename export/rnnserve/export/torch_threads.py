"""torch's number of threads while results are compared."""

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, and restore the number afterwards.

    With one thread the bits of a result do not depend on the machine's cores, and small operators do not wait for each
    other's threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
