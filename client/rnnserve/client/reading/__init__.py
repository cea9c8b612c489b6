"""Sequences out of files: JSON, CSV and numpy's `.npy`, with errors that say where the mistake is."""

from collections.abc import Callable
from pathlib import PurePath

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.reading.csv_format import read_csv
from rnnserve.client.reading.json_format import read_json
from rnnserve.client.reading.named import NamedSequences
from rnnserve.client.reading.npy_format import MAGIC, read_npy

__all__ = ["FORMATS", "NamedSequences", "guess_format", "read_sequences"]

_READERS: dict[str, Callable[[bytes, str], NamedSequences]] = {"json": read_json, "csv": read_csv, "npy": read_npy}

FORMATS = tuple(_READERS)
"""The names of the formats."""


def read_sequences(data: bytes, source: str, format_: str = "auto") -> NamedSequences:
    """Return the sequences in `data`.

    Args:
        data: What the file holds.
        source: The file's name, for errors, and for the format where that is "auto".
        format_: One of FORMATS, or "auto": by the name's ending, else by the first byte.

    Raises:
        UnreadableInput: It does not hold sequences in that format; the message names source, place and expectation.
    """
    read = _READERS[guess_format(data, source) if format_ == "auto" else format_](data, source)
    if not read.points:
        raise UnreadableInput(f"{source}: there are no sequences in it")
    return read


def guess_format(data: bytes, source: str) -> str:
    """Return the format of a file, by its name's ending where that is known, else by its first byte."""
    ending = PurePath(source).suffix.lower().removeprefix(".")
    if ending in _READERS:
        return ending
    if data.startswith(MAGIC):
        return "npy"
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return "json" if start in (b"[", b"{") else "csv"
