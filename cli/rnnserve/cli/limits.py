"""Whether the limits of the process (`ulimit`) leave a command what it needs; asked before anything large is imported.

Afterwards it is too late for one line: under `ulimit -v` OpenBLAS, and under `ulimit -u` gRPC, print lines of their own
and end the process, or raise SIGINT in it.
"""

import os
import resource
import threading
from pathlib import Path
from typing import NamedTuple

from rnnserve.common.allocation import use_few_arenas

__all__ = ["Needs", "missing"]

_MIB = 2**20


class Needs(NamedTuple):
    """What a command needs at least, as measured on two cores with `ulimit -v` and `ulimit -u`.

    Attributes:
        memory: Address space in MiB, beside that of each core.
        memory_of_core: Address space in MiB for each core: buffers and stacks of the threads that libraries start.
        threads: Threads at the same time in all processes of the command, beside those of each core.
        threads_of_core: Threads for each core.
    """

    memory: int
    memory_of_core: int
    threads: int
    threads_of_core: int


def missing(needs: Needs) -> str:
    """Say which limit does not leave enough, and how it is raised; empty if all do."""
    cores = len(os.sched_getaffinity(0))
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        # Each thread's arena takes 64 MiB or more of it: those that are started here to be counted took what OpenBLAS
        # needs later, and it ended `rnnserve infer` under `ulimit -v 600000`, which needs 250 MiB.
        use_few_arenas()
    return _missing_memory(needs.memory + cores * needs.memory_of_core) or _missing_threads(
        needs.threads + cores * needs.threads_of_core
    )


def _missing_memory(mebibytes: int) -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= mebibytes * _MIB:
        return ""
    return (
        f"needs an address space of {mebibytes} MiB at least, and the limit is {limit // _MIB} MiB: raise it, with "
        f"`ulimit -v {mebibytes * 1024}` or `ulimit -v unlimited`"
    )


def _missing_threads(count: int) -> str:
    """Start as many threads for a moment: who else of the user's processes counts is not easily told otherwise."""
    done = threading.Event()
    started: list[threading.Thread] = []
    size = threading.stack_size(64 * 1024)
    try:
        for _ in range(count - 1):  # the main thread is one of them
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return _few_threads(count, len(started) + 1)
    finally:
        threading.stack_size(size)
        done.set()
        for thread in started:
            thread.join()
    return ""


def _few_threads(count: int, available: int) -> str:
    limit = _in_words(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    container = Path("/sys/fs/cgroup/pids.max")
    other = ", or that of the container" if container.exists() else ""
    return (
        f"needs {count} threads, and {available} can be started: raise the limit of processes{limit}{other}, "
        "or end other processes of this user"
    )


def _in_words(limit: int) -> str:
    return "" if limit == resource.RLIM_INFINITY else f", which is {limit} (`ulimit -u`)"
