"""Checks that the process limits (`ulimit`) suffice for a command, before large imports.

A later check couldn't report the problem in one line: OpenBLAS (under `ulimit -v`) and gRPC (under `ulimit -u`) print
their own lines and end the process, or raise SIGINT in it.
"""

import os
import resource
import threading
from pathlib import Path
from typing import NamedTuple

from rnnserve.common.process_memory import limit_free_memory

__all__ = ["Needs", "missing"]

_MIB = 2**20


class Needs(NamedTuple):
    """A command's minimal needs, as measured on two cores with `ulimit -v` and `ulimit -u`.

    Attributes:
        memory: Address space in MiB, in addition to each core's.
        memory_of_core: Address space in MiB for each core: buffers and stacks of libraries' threads.
        threads: Threads at the same time in all processes of the command, in addition to each core's.
        threads_of_core: Threads for each core.
    """

    memory: int
    memory_of_core: int
    threads: int
    threads_of_core: int


def missing(needs: Needs) -> str:
    """Describe the limit that is too low and how to raise it, or return an empty string."""
    cores = len(os.sched_getaffinity(0))
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        # Each thread's arena takes 64 MiB or more of the address space. The threads started here to count them took the
        # memory that OpenBLAS needs later, which ended `rnnserve infer` under `ulimit -v 600000`, which needs 250 MiB.
        limit_free_memory()
    return _missing_memory(needs.memory + cores * needs.memory_of_core) or _missing_threads(
        needs.threads + cores * needs.threads_of_core
    )


def _missing_memory(mebibytes: int) -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= mebibytes * _MIB:
        return ""
    return (
        f"needs an address space of at least {mebibytes} MiB, but the limit is {limit // _MIB} MiB. Raise it with "
        f"`ulimit -v {mebibytes * 1024}` or `ulimit -v unlimited`"
    )


def _missing_threads(count: int) -> str:
    """Start this many threads briefly, because the user's other processes also count and are hard to count."""
    done = threading.Event()
    started: list[threading.Thread] = []
    size = threading.stack_size(64 * 1024)
    try:
        for _ in range(count - 1):  # the main thread counts as well
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
        f"needs {count} threads, but only {available} can be started. Raise the limit of processes{limit}{other}, or "
        "end other processes of this user"
    )


def _in_words(limit: int) -> str:
    return "" if limit == resource.RLIM_INFINITY else f", which is {limit} (`ulimit -u`)"
