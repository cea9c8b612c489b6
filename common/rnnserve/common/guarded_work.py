"""The work of a guarded process: what runs in the process that `rnnserve.common.guarded_process` starts."""

import os
import queue
import re
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from rnnserve.common.child_process import die_with_parent
from rnnserve.common.guarded_process import SIZE_BYTES

__all__ = ["answer_requests", "limit_memory", "limit_processor_seconds"]

_STATUS = Path("/proc/self/status")


def answer_requests(answer: Callable[[bytes], bytes]) -> None:
    """Say that this process is ready, by an empty answer; then answer requests until the other process closes its end.

    Args:
        answer: A function that gives the answer to a request. What it raises ends this process.
    """
    die_with_parent(sys.stdin.fileno())
    answers = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the crash of a file that is tried is no reason to fill a disk
    _be_killed_first()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # The lifeline: this thread ends the process when the other one has ended, also in the middle of a run of
    # onnxruntime, which runs without the interpreter's lock.
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    _write(answers, b"")
    while True:
        _write(answers, answer(requests.get()))


def limit_memory(more: int) -> None:
    """Let this process allocate no more than `more` bytes beyond what it holds now; replaces an earlier limit.

    RLIMIT_DATA counts private memory that can be written. RLIMIT_AS would also count what is only reserved, such as the
    address space that CUDA takes: hundreds of gigabytes.
    """
    held = re.search(r"^VmData:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if held is None:
        raise OSError(f"{_STATUS} does not say how much memory this process holds")
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = (int(held[1]) << 10) + more
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def limit_processor_seconds(more: float) -> None:
    """Let this process compute no more than `more` seconds from now on; replaces an earlier limit.

    The other process has its own clock and kills this one. This limit ends an endless run where the other process has
    been killed itself, and the run keeps the interpreter's lock from the thread that would notice it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime + more) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _be_killed_first() -> None:
    """Where the machine's memory runs out, the kernel is to end this process before the one that serves."""
    Path("/proc/self/oom_score_adj").write_text("1000")


def _read_requests(requests: "queue.SimpleQueue[bytes]") -> None:
    while True:
        requests.put(_read(int.from_bytes(_read(SIZE_BYTES), "little")))


def _read(size: int) -> bytes:
    """Read as many bytes of requests. At their end, end this process."""
    data = bytearray()
    while len(data) < size:
        block = os.read(sys.stdin.fileno(), min(size - len(data), 1 << 20))
        if not block:
            os._exit(0)
        data += block
    return bytes(data)


def _write(answers: int, answer: bytes) -> None:
    unsent = memoryview(len(answer).to_bytes(SIZE_BYTES, "little") + answer)
    while unsent:
        unsent = unsent[os.write(answers, unsent) :]
