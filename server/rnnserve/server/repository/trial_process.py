"""Trying versions in another process, which a version may crash, block or fill: it never does so to the server.

A process tries versions, one after the other. It is ended, and another one started, where a version has ended it or
takes too long.
"""

import dataclasses
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow
from rnnserve.server.errors import StartError
from rnnserve.server.repository.findings import Findings
from rnnserve.server.system import why_no_resource

__all__ = ["Refused", "Stopped", "TooSlow", "Trial", "TrialProcess"]

_WORKER = "rnnserve.server.repository.trial_worker"

_START_SECONDS = 60.0
"""Seconds that the process may take to start: it imports onnxruntime, and tries CUDA where that is the device."""


class TooSlow(Exception):
    """The version did not pass its trial in the time that it had."""


class Stopped(Exception):
    """`stop` was called."""


class Refused(Exception):
    """The version may not serve; the message is the reason.

    Attributes:
        traceback: Of an exception that trying versions is not known to raise; empty otherwise.
    """

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason)
        self.traceback = traceback


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is tried, and what it may take.

    Attributes:
        folder: The version's.
        name: The model's.
        version: Its number, as text.
        device: "cpu" or "cuda": where it is to serve.
        graph: As `Settings.graph`.
        allow_unproven: Let it pass, too, if it was adopted from an ONNX file and not proven.
        threads: Of a run, as where it serves.
        max_bytes: Memory that it may take, beyond eight times its files.
        seconds: How long it may take.
        inside: As for `load_model`.
        signed: As for `load_model`.
    """

    folder: Path
    name: str
    version: str
    device: str
    graph: str
    allow_unproven: bool
    threads: int
    max_bytes: int
    seconds: float
    inside: Path | None = None
    signed: Mapping[str, str] | None = None

    def as_request(self) -> bytes:
        """Give the arguments of `trial_worker.try_out`, as JSON."""
        inside = None if self.inside is None else str(self.inside)
        return json.dumps({**vars(self), "folder": str(self.folder), "inside": inside}).encode()


class TrialProcess:
    """Tries versions, one at a time. For one thread at a time, but for `stop`.

    Attributes:
        is_ready: Whether the process has started, so that `begin` does not wait for it.
    """

    def __init__(self, niceness: int = 0, *, worker: str = _WORKER) -> None:
        """Start the process, which imports what it needs while the server goes on.

        Args:
            niceness: Degree to which the process gives way to others, as for nice(1).
            worker: Module that the process runs.

        Raises:
            StartError: If no process can be started.
        """
        self._niceness = niceness
        self._worker = worker
        self._lock = threading.Lock()  # of the two below: `stop` ends whatever process there is
        self._is_stopped = False
        self._process: GuardedProcess | None = None
        self.is_ready = False
        self._deadline = 0.0
        self._start()

    def begin(self, trial: Trial) -> None:
        """Begin to try a version; `outcome` tells what came of it.

        Raises:
            StartError: If no process can be started.
            Stopped: If `stop` was called.
        """
        process = self._process or self._start()
        try:
            if not self.is_ready:
                process.receive(_START_SECONDS)
                process.send(trial.device.encode(), _START_SECONDS)
                process.receive(_START_SECONDS)
                self.is_ready = True
            self._deadline = time.monotonic() + trial.seconds
            process.send(trial.as_request(), trial.seconds)
        except ProcessEnded as error:
            self._end()
            raise self._unless_stopped(StartError(f"the process that tries models ended, {error}")) from error
        except ProcessTooSlow as error:
            self._end()
            raise StartError(f"the process that tries models did not start within {_START_SECONDS:g} s") from error

    def outcome(self) -> Findings:
        """Wait for the end of the trial that has begun.

        Raises:
            Refused: If the version may not serve.
            TooSlow: If the time is over.
            StartError: If the device cannot be had.
            Stopped: If `stop` was called.
        """
        assert self._process is not None  # noqa: S101 - a trial has begun
        try:
            answer = json.loads(self._process.receive(self._deadline - time.monotonic()))
        except ProcessTooSlow:
            self._end()
            raise TooSlow from None
        except ProcessEnded as error:
            self._end()
            raise self._unless_stopped(Refused(f"ended the process that tried it {error}")) from None
        if "start_error" in answer:
            raise StartError(answer["start_error"])
        if "refused" in answer:
            raise Refused(answer["refused"], answer.get("traceback", ""))
        return Findings.from_fields(answer["findings"])

    def stop(self) -> None:
        """End what runs; nothing can be tried after that. Any thread may call this."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._end()

    def _start(self) -> GuardedProcess:
        with self._lock:
            if self._is_stopped:
                raise Stopped
            try:
                self._process = GuardedProcess("-m", self._worker, niceness=self._niceness)
            except OSError as error:
                raise StartError(f"cannot start a process that tries models: {why_no_resource(error)}") from error
            return self._process

    def _unless_stopped(self, error: Exception) -> Exception:
        """The error that the end of the process is; but where `stop` has ended it, that."""
        return Stopped() if self._is_stopped else error

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            self.is_ready = False
        if process is not None:
            process.close()
