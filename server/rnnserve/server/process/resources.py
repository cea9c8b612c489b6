"""What the system has run out of, in words: descriptors, processes and threads, memory."""

import errno
import resource

__all__ = ["why_no_resource"]

_LIMITS = {
    errno.EMFILE: (resource.RLIMIT_NOFILE, "this process may open no more files and connections", "ulimit -n"),
    errno.EAGAIN: (resource.RLIMIT_NPROC, "this user may have no more processes and threads", "ulimit -u"),
    errno.ENOMEM: (resource.RLIMIT_AS, "there is no memory, or address space, left", "ulimit -v"),
}


def why_no_resource(error: BaseException) -> str:
    """Say which limit an error comes from, and what it is set to; the error's own words where it is another one."""
    number = _number_of(error)
    if number == errno.ENFILE:
        return "the machine may open no more files (sysctl fs.file-max)"
    if number not in _LIMITS:
        said = str(error) or type(error).__name__
        return error.strerror or said if isinstance(error, OSError) else said
    limit, what, command = _LIMITS[number]
    soft, _ = resource.getrlimit(limit)
    if limit == resource.RLIMIT_NPROC:
        command += ", or pids.max of its control group"
    value = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft >> 10 if number == errno.ENOMEM else soft:,}"
    return f"{what} (limit {value}: {command})"


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if "can't start new thread" in str(error):
        # Python does not say why; the stacks of threads take address space, and where that is limited it is the reason.
        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        return errno.ENOMEM if is_limited else errno.EAGAIN
    return error.errno if isinstance(error, OSError) else None
