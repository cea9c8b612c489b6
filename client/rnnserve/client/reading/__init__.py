"""Reading rows of a model's inputs from files: JSON, CSV and numpy's `.npy` and `.npz`.

Errors give the place of the mistake. The parsers are the standard library's `json` and `csv` and numpy's. The checks
after them are written by hand: pandas, pyarrow or a schema library would be a large dependency of a small client, and
none of them reports a mistake by file, line or sequence, point and feature.

Door: `__all__`, `point_lines`.
"""

from collections.abc import Callable
from pathlib import PurePath

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.reading.csv_format import read_csv
from rnnserve.client.reading.json_format import read_json
from rnnserve.client.reading.named_rows import NamedRows
from rnnserve.client.reading.npy_format import MAGIC, NPZ_MAGIC, read_arrays, read_npy, read_npz

__all__ = ["FORMATS", "NamedRows", "guess_format", "read_arrays", "read_rows"]

_READERS: dict[str, Callable[[bytes, str, ModelMetadata], NamedRows]] = {
    "json": read_json,
    "csv": read_csv,
    "npy": read_npy,
    "npz": read_npz,
}

FORMATS = tuple(_READERS)
"""Names of the formats."""


def read_rows(data: bytes, source: str, metadata: ModelMetadata, format_: str = "auto") -> NamedRows:
    """Return the rows in a file's content.

    Args:
        data: The file's content.
        source: The file's name, for errors and for the format "auto".
        metadata: The model's metadata, which tell the axes of a row.
        format_: One of FORMATS, or "auto": by the name's suffix, else by the first bytes.

    Raises:
        UnreadableInput: The content is not in that format, or holds no rows of this model; the message gives the
            source, the place and what was expected.
    """
    read = _READERS[guess_format(data, source) if format_ == "auto" else format_](data, source, metadata)
    if not read.names:
        raise UnreadableInput(f"{source}: holds no sequences")
    return read


def guess_format(data: bytes, source: str) -> str:
    """Return the format of a file, by its name's suffix if it is a known one, else by its first bytes."""
    suffix = PurePath(source).suffix.lower().removeprefix(".")
    if suffix in _READERS:
        return suffix
    if data.startswith(MAGIC):
        return "npy"
    if data.startswith(NPZ_MAGIC):
        return "npz"
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return "json" if start in (b"[", b"{") else "csv"
