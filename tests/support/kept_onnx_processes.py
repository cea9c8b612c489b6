"""Processes in which files of unknown origin run, kept from one `OnnxProcess` of a test process to the next.

The start of one costs nearly half a second of processor time where coverage is measured, and each file that a test
adopts or checks starts one. One that has ended, or has not answered, is not kept.
"""

from typing import Any

from rnnserve.common.guarded_process import GuardedProcess
from rnnserve.export.parity import onnx_process
from support.kept_trials import surroundings_of

__all__ = ["end_kept", "keep"]

_kept: "list[_KeptProcess]" = []


class _KeptProcess(GuardedProcess):
    """A process that is kept when it is closed; its first answer, that it is ready, is given to each that takes it."""

    def __init__(self, file: str) -> None:
        self.made_by = file, surroundings_of(0)
        self._unanswered, self._is_taken_again = 1, False  # it says by itself that it is ready
        super().__init__(file)

    def send(self, request: bytes, seconds: float) -> None:
        self._unanswered += 1
        super().send(request, seconds)

    def receive(self, seconds: float) -> bytes:
        if self._is_taken_again:
            self._is_taken_again = False
            return b""
        answer = super().receive(seconds)
        self._unanswered -= 1
        return answer

    def take(self) -> None:
        """Take it once more."""
        self._is_taken_again = True

    def close(self) -> None:
        if _kept or self._unanswered or self._popen.poll() is not None:
            self.end()
        else:
            _kept.append(self)

    def end(self) -> None:
        """End the process."""
        super().close()


def keep() -> None:
    """Let each `OnnxProcess` of this process use the kept one."""
    module: Any = onnx_process
    module.GuardedProcess = _start


def end_kept() -> None:
    """End the process."""
    while _kept:
        _kept.pop().end()


def _start(file: str) -> GuardedProcess:
    while _kept:
        process = _kept.pop()
        if process.made_by == (file, surroundings_of(0)) and process._popen.poll() is None:
            process.take()
            return process
        process.end()
    return _KeptProcess(file)
