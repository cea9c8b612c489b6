"""Reading .npz files, archives of arrays, that may hold anything: in memory that is bounded by the file's size.

`numpy.load` believes what such a file says of itself: 2 MB of compressed zeros become 2 GB, and a header of an array
allocates as much as it says.
"""

import functools
import io
import math
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_ADDED_BYTES", "read_arrays"]

MOST_ADDED_BYTES = 64 << 20
"""Bytes that the arrays of golden.npz may have more than the file itself, since they may be compressed. Beyond it:
UNAVAILABLE."""

_MOST_ARRAYS = 100_000

# What Python's zipfile decompresses in bounded steps. bzip2 and LZMA it does not: 45 bytes become any number.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_ENCRYPTED = 0x1

_VERSION_1 = np.lib.format.magic(1, 0)
_PREFIX_BYTES = 10
"""Bytes before the text of a header of version 1: the magic bytes, and the text's size in two bytes, little-endian."""

_USUAL_HEADER_BYTES, _MOST_HEADERS = 256, 512
"""Size and number of the headers that are kept."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


_Header = tuple[tuple[int, ...], bool, np.dtype[Any], int]
"""Shape, whether the first axis varies fastest, dtype, and the header's size in bytes."""


def read_arrays(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Read the arrays of an .npz file, in its order, each with its name.

    Raises:
        ValueError: This isn't such a file, or the archive states larger arrays than they may be. That is checked before
            anything is decompressed, and no more is decompressed than stated.
    """
    try:
        yield from _arrays(data)
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        # zipfile, zlib and numpy's parser of headers, which is Python's own, raise a dozen others: TokenError is one.
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _arrays(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    most = len(data) + MOST_ADDED_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > _MOST_ARRAYS:
            raise ValueError(f"has {len(members):,} arrays, and may have {_MOST_ARRAYS:,}")
        if sum(member.file_size for member in members) > most:
            raise ValueError(f"has {len(data):,} bytes, and its arrays more than {most:,}")
        for member in members:
            if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
                raise ValueError(f'"{member.filename}" is neither stored nor deflated, as numpy writes arrays')
            with archive.open(member) as file:
                content = file.read(member.file_size + 1)  # no more is decompressed, whatever there is
            yield member.filename.removesuffix(".npy"), _array(content)


def _array(content: bytes) -> npt.NDArray[Any]:
    """Read one array in numpy's format, after its header has been compared with the bytes that there are."""
    start = _PREFIX_BYTES + int.from_bytes(content[_PREFIX_BYTES - 2 : _PREFIX_BYTES], "little")
    is_usual = content.startswith(_VERSION_1) and start <= _USUAL_HEADER_BYTES
    shape, is_fortran, dtype, start = _read_usual_header(content[:start]) if is_usual else _read_header(content)
    said, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if said != found or min(shape, default=0) < 0:
        raise ValueError(f"an array {list(shape)} of {dtype} has {said:,} bytes; {found:,} are there")
    values = np.frombuffer(content, dtype, offset=start).copy()  # one that can be written to
    return values.reshape(shape, order="F" if is_fortran else "C")


def _read_header(content: bytes) -> _Header:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of format {version}; expected {' or '.join(map(str, _HEADERS))}")
    shape, is_fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which only code can read")
    return shape, is_fortran, dtype, file.tell()


# numpy parses a header as a Python expression, in 50 microseconds. Archives of golden results have a hundred arrays of
# few shapes, and so have those of other models.
_read_usual_header = functools.lru_cache(_MOST_HEADERS)(_read_header)
