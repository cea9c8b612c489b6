"""What a fuzz target is: something that reads bytes of others, and what it may do with them."""

import random
from collections.abc import Sequence
from typing import Protocol

__all__ = ["FuzzTarget"]


class FuzzTarget(Protocol):
    """Something that reads bytes of others."""

    @property
    def name(self) -> str:
        """Its name, which is that of its folder in the corpus."""

    def seeds(self) -> list[bytes]:
        """Inputs to begin with, besides those of the corpus."""

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        """Change an input."""

    def read(self, data: bytes) -> None:
        """Read an input: return, or let the documented error pass unseen.

        Raises:
            Exception: Any other error, and AssertionError where what was read is not as it should be.
        """
