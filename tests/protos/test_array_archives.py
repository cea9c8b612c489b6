"""Archives of arrays are read as numpy writes them, and never take much more memory than they have bytes."""

import contextlib
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.bad_versions import bomb
from rnnserve.protos.array_archives import read_arrays

ARRAYS = {
    "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.array([1, 2], ">i4"),
    "no axes": np.array(7),
    "no rows": np.zeros((0, 3)),
    "texts": np.array(["a", "bc"]),
}


def saved(save, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_read(save):
    found = dict(read_arrays(saved(save, **ARRAYS)))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


def test_bomb_is_refused_before_it_is_inflated():
    data = bomb(lying=True)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than|Bad CRC-32"):
        list(read_arrays(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_decompress_without_bounds_are_refused(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("x.npy", b"any")
    with pytest.raises(ValueError, match=r'^the compression of "x\.npy" is not supported'):
        list(read_arrays(file.getvalue()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(2, 3)", b"(2, 4)"),
        (b"(2, 3)", b"(9, 9)"),
        (b"<f4", b"<f8"),
        (b"<f4", b"|O8"),
        (b"(2, 3)", b"(-2,3"),
        (b"NUMPY\x01", b"NUMPY\x09"),
        (b"NUMPY", b"NAMPY"),
    ],
)
def test_inconsistent_header_is_refused(old, new):
    data = saved(np.savez, plain=ARRAYS["plain"])
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as other:
        content = archive.read("plain.npy")
        assert old in content
        other.writestr("plain.npy", content.replace(old, new))
    with pytest.raises(ValueError, match=r"."):
        list(read_arrays(file.getvalue()))


@given(st.data())
def test_damaged_archive_is_read_or_refused(data):
    archive = bytearray(saved(np.savez_compressed, plain=ARRAYS["plain"], more=ARRAYS["no axes"]))
    archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        list(read_arrays(bytes(archive)))


def test_truncated_archives_are_refused():
    data = saved(np.savez, plain=ARRAYS["plain"])
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"."):
            list(read_arrays(data[:size]))
