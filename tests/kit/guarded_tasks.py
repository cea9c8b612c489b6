"""What tests let a guarded process do: a request is the name of a task."""

import os
import re
import signal
import sys
import time
from pathlib import Path

from rnnserve.common.guarded_process import answer_requests, limit_memory


def answer(request: bytes) -> bytes:
    match request.decode().split():
        case ["signal", name]:
            os.kill(os.getpid(), getattr(signal, name))
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["allocate", most, wanted]:
            limit_memory(int(most))
            try:
                bytearray(int(wanted))
            except MemoryError:
                return b"too much"
        case ["compute"]:
            while True:
                re.fullmatch(r"(a+)+b", "a" * 40)  # keeps the interpreter's lock
        case ["raise"]:
            raise ZeroDivisionError
        case ["print"]:
            print("a line of output", flush=True)
            print("a line of errors", file=sys.stderr, flush=True)
        case ["files"]:
            return str(sorted(os.listdir("/proc/self/fd"))).encode()  # noqa: PTH208
        case ["path"]:
            return os.pathsep.join(sys.path).encode()
        case ["killed", "first"]:
            return Path("/proc/self/oom_score_adj").read_bytes()
    return request


if __name__ == "__main__":
    answer_requests(answer)
