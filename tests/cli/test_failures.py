"""System errors around a command are explained in one line, wherever they come from. Defects are not."""

import errno

import pytest

from rnnserve.cli.failures import explain

MEMORY, THREADS = "there is not enough memory. Is it limited", "no more threads can be started. Is their number limited"


def raised_from(error, cause=None, context=None):
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (ImportError("libtorch.so: failed to map segment from shared object"), MEMORY),
        (RuntimeError("std::bad_alloc"), MEMORY),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), THREADS),
        (RuntimeError("can't start new thread"), THREADS),
        (OSError(errno.ENOSPC, "No space left on device", "out/model.onnx"), "out/model.onnx: No space left on device"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (raised_from(ValueError("no model"), cause=MemoryError()), MEMORY),
        (raised_from(ValueError("no model"), context=OSError(errno.EROFS, "Read-only disk", "a")), "a: Read-only disk"),
        (ValueError("no model"), ""),
        (OSError(errno.ENOENT, "No such file or directory", "a"), ""),
        (RuntimeError("shapes differ"), ""),
    ],
    ids=repr,
)
def test_system_error_is_explained_in_one_line(error, line):
    found = explain(error)
    assert found.startswith(line)
    assert bool(found) == bool(line)


def test_circular_causes_end():
    error = ValueError("one")
    error.__context__ = raised_from(ValueError("other"), context=error)
    assert explain(error) == ""
