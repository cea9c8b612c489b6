"""The child's side of a guarded process, which `rnnserve.common.guarded_process` starts."""

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
    """Send an empty response when this process is ready, then handle requests until the parent closes its end.

    An exception of `answer` ends this process.
    """
    die_with_parent(sys.stdin.fileno())
    answers = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # output that libraries print isn't a response
    # Disable core dumps: a model that crashes on every load would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, the kernel kills this process first
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # The lifeline: the thread that reads requests ends this process when the parent has ended. This also works during
    # an inference call, because onnxruntime releases the interpreter's lock.
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    _write(answers, b"")
    while True:
        _write(answers, answer(requests.get()))


def limit_memory(more: int) -> None:
    """Let this process allocate at most `more` bytes beyond its present memory. Replaces an earlier limit.

    The limit is RLIMIT_DATA, which counts private writable memory. RLIMIT_AS would also count reserved address space.
    CUDA reserves hundreds of gigabytes of it.
    """
    held = re.search(r"^VmData:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if held is None:
        raise OSError(f"{_STATUS} does not say how much memory this process holds")
    _limit(resource.RLIMIT_DATA, (int(held[1]) << 10) + more)


def limit_processor_seconds(more: float) -> None:
    """Let this process use at most `more` seconds of processor time from now on. Replaces an earlier limit.

    Normally, the parent measures the time and kills this process. This limit matters if the parent has been
    killed itself. Then an endless inference call that holds the interpreter's lock would keep the lifeline thread from
    running.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + more) + 1)


def _limit(kind: int, soft: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _read_requests(requests: "queue.SimpleQueue[bytes]") -> None:
    while True:
        requests.put(_read(int.from_bytes(_read(SIZE_BYTES), "little")))


def _read(size: int) -> bytes:
    """Read exactly `size` bytes of requests. When the parent closes the pipe, end this process."""
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
