"""The result of every reader."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from rnnserve.client.errors import UnreadableInput

__all__ = ["NamedSequences", "decode_text"]


@dataclass(frozen=True)
class NamedSequences:
    """Sequences and their names in the file.

    Attributes:
        names: The ids in a CSV file's `sequence` column, else "0", "1", …
        points: One array (length, features) of real numbers per sequence, in the file's order.
    """

    names: list[str]
    points: list[npt.NDArray[Any]]

    @classmethod
    def numbered(cls, points: list[npt.NDArray[Any]]) -> "NamedSequences":
        """Name the sequences by their index."""
        return cls([str(index) for index in range(len(points))], points)


def decode_text(data: bytes, source: str) -> str:
    """Return a file's content as text, without a byte order mark.

    Raises:
        UnreadableInput: The content is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{source}, byte {error.start}: expected UTF-8 text (is it a .npy file?)") from error
