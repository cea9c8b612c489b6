"""Failures of the environment, such as a full disk or too little memory, in one line each.

They are neither a user's mistake nor a defect, and can occur anywhere.
"""

import errno

__all__ = ["describe_os_error", "explain"]

_SURROUNDINGS = frozenset(
    {
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    }
)
_OF_MEMORY = ("failed to map segment", "annot allocate memory", "can't allocate memory", "bad_alloc")
_OF_THREADS = ("can't start new thread", "pthread_create", "Resource temporarily unavailable")
_MEMORY = "there is not enough memory. Is it limited (`ulimit -v`, a container)? Raise the limit, or end other programs"
_THREADS = "no more threads can be started. Is their number limited (`ulimit -u`, a container)? Raise the limit"


def explain(error: BaseException) -> str:
    """Return the line for a failure of the environment, even if it caused another error, or else ""."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        line = _explain_one(cause)
        if line:
            return line
        cause = cause.__cause__ or cause.__context__
    return ""


def describe_os_error(error: OSError) -> str:
    """Return `FILE: what is wrong`, without the number that Python's text begins with."""
    said = error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename else said


def _explain_one(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return _MEMORY
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return _THREADS
    if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
        return describe_os_error(error)
    if isinstance(error, ImportError | RuntimeError):
        said = str(error)
        if any(words in said for words in _OF_MEMORY):
            return _MEMORY
        if any(words in said for words in _OF_THREADS):
            return _THREADS
    return ""
