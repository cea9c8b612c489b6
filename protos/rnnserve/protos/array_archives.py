"""Read untrusted .npz files. The memory use is bounded by the file's size.

`numpy.load` trusts the sizes in the file: 2 MB of compressed zeros become 2 GB, and an array's header alone can cause
an allocation of any size.
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
"""Bytes by which the arrays of golden.npz may exceed the size of the file, which may be compressed. Beyond it:
UNAVAILABLE."""

_MOST_ARRAYS = 100_000

# Python's zipfile decompresses these methods in bounded steps, but not bzip2 and LZMA: 45 bytes can become any number.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_ENCRYPTED = 0x1

_VERSION = (1, 0)
_PREFIX_BYTES = 10
"""Bytes before the text of a header of version 1: the magic bytes, then the text's size in two bytes, little-endian."""

_MOST_HEADERS = 512
"""Number of cached headers."""


_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""Shape, whether the array is in Fortran order, and dtype."""


def read_arrays(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield each array of an .npz file with its name, in the file's order.

    Raises:
        ValueError: The data isn't an .npz file, or the archive states sizes above the limit. The sizes are checked
            before anything is decompressed, and no array is decompressed beyond its stated size.
    """
    try:
        yield from _arrays(data)
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        # zipfile, zlib and numpy's header parser (Python's own) raise a dozen other errors, such as TokenError.
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _arrays(data: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    most = len(data) + MOST_ADDED_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > _MOST_ARRAYS:
            raise ValueError(f"has {len(members):,} arrays; at most {_MOST_ARRAYS:,} are allowed")
        if sum(member.file_size for member in members) > most:
            raise ValueError(f"has {len(data):,} bytes, but its arrays take more than {most:,}")
        for member in members:
            if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
                raise ValueError(
                    f'the compression of "{member.filename}" is not supported; expected stored or deflated, as '
                    "written by numpy.savez"
                )
            with archive.open(member) as file:
                content = file.read(member.file_size + 1)  # decompresses no more, whatever the member contains
            yield member.filename.removesuffix(".npy"), _array(content)


def _array(content: bytes) -> npt.NDArray[Any]:
    """Read one array in numpy's format. First compares the size in its header with the bytes in the file."""
    start = _PREFIX_BYTES + int.from_bytes(content[_PREFIX_BYTES - 2 : _PREFIX_BYTES], "little")
    shape, is_fortran, dtype = _read_header(content[:start])
    said, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if said != found or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {list(shape)} and {dtype} needs {said:,} bytes; found {found:,}")
    values = np.frombuffer(content, dtype, offset=start).copy()  # writable
    return values.reshape(shape, order="F" if is_fortran else "C")


# numpy parses a header as a Python expression, which takes 50 microseconds. An archive of reference outputs has about a
# hundred arrays but few shapes, and other models' archives repeat these shapes.
@functools.lru_cache(_MOST_HEADERS)
def _read_header(header: bytes) -> _Header:
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version != _VERSION:
        raise ValueError(f"an array has the format {version}; expected {_VERSION}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array contains Python objects; expected numbers or booleans")
    return shape, is_fortran, dtype
