"""Trying versions in a process of its own, which a version may crash, block or fill: it never does so to the server.

One process tries all versions, one after the other. It is ended, and another one started, where a version has ended it
or takes too long.
"""

import json
import threading
import time
from pathlib import Path

from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow
from rnnserve.server.errors import StartError
from rnnserve.server.process.resources import why_no_resource
from rnnserve.server.repository.findings import Findings

__all__ = ["Refused", "Stopped", "TooSlow", "Trials"]

_WORKER = "rnnserve.server.repository.trial_worker"

_START_SECONDS = 60.0
"""Seconds that the process may take to start: it imports onnxruntime, and tries CUDA where that is the device."""


_LEAST_WAIT = 0.01
"""Seconds between two looks at how long the process has computed: it has computed less than has passed."""


_NICENESS = 10
"""A tenth of the processor time that a process which serves gets beside it, where all processors are busy."""


class TooSlow(Exception):
    """The version did not pass its trial in the time that it had."""


class Stopped(Exception):
    """`Trials.stop` was called."""


class Refused(Exception):
    """The version may not serve; the message is the reason.

    Attributes:
        traceback: Of an exception that trying versions is not known to raise; empty otherwise.
    """

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason)
        self.traceback = traceback


class Trials:
    """Tries versions, one at a time. For one thread, but for `stop`."""

    def __init__(self, *, allow_unproven: bool, max_bytes: int, threads: int = 1, niceness: int = 0) -> None:
        """Start the process, which imports what it needs while the server goes on.

        Args:
            allow_unproven: Let versions pass, too, that were adopted from an ONNX file and not proven.
            max_bytes: Memory that a version may take, beyond eight times its files.
            threads: Of a run of a version, where it is tried as where it serves.
            niceness: How far the process gives way to others, as for nice(1).

        Raises:
            StartError: If no process can be started.
        """
        self._allow_unproven = allow_unproven
        self._max_bytes = max_bytes
        self._threads = threads
        self._niceness = niceness
        self._lock = threading.Lock()  # of the three below: `stop` ends whatever process there is
        self._is_stopped = False
        self._further: list[Trials] = []
        self._process: GuardedProcess | None = None
        self._is_ready = False
        self._deadline = self._most_computed = 0.0
        self._start()

    def begin(
        self,
        folder: Path,
        name: str,
        version: str,
        device: str,
        *,
        graph: str,
        seconds: float,
        processor_seconds: float,
        inside: Path | None = None,
    ) -> None:
        """Begin to try a version; `outcome` tells what came of it.

        Args:
            folder: Its folder.
            name: The model's.
            version: Its number, as text.
            device: "cpu" or "cuda": where it is to serve.
            graph: As `Settings.graph`.
            seconds: How long it may take.
            processor_seconds: How long it may compute, for each of its threads.
            inside: As for `load_model`.

        Raises:
            StartError: If no process can be started.
            Stopped: If `stop` was called.
        """
        process = self._process or self._start()
        request = {
            "folder": str(folder),
            "name": name,
            "version": version,
            "device": device,
            "graph": graph,
            "allow_unproven": self._allow_unproven,
            "max_bytes": self._max_bytes,
            "threads": self._threads,
            "seconds": seconds,
            "inside": None if inside is None else str(inside),
        }
        try:
            if not self._is_ready:
                process.receive(_START_SECONDS)
                process.send(device.encode(), _START_SECONDS)
                process.receive(_START_SECONDS)
                self._is_ready = True
            self._deadline = time.monotonic() + seconds
            self._most_computed = process.processor_seconds + self._threads * processor_seconds
            process.send(json.dumps(request).encode(), seconds)
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
            answer = json.loads(self._receive(self._process))
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

    def further(self, max_bytes: int) -> "Trials":
        """Start a further process of the same kind, for another thread. `stop` of this one stops that one, too.

        Args:
            max_bytes: Memory that a version may take in it, beyond eight times its files; no more than here.

        Raises:
            StartError: If no process can be started.
            Stopped: If `stop` was called.
        """
        with self._lock:
            if self._is_stopped:
                raise Stopped
            further = Trials(
                allow_unproven=self._allow_unproven,
                max_bytes=min(max_bytes, self._max_bytes),
                threads=self._threads,
                niceness=self._niceness,
            )
            self._further.append(further)
            return further

    def give_way(self) -> None:
        """Let processes that are started from now on give way to this one, which serves."""
        self._niceness = _NICENESS

    def stop(self) -> None:
        """End what runs; nothing can be tried after that. Any thread may call this."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()
            for further in self._further:
                further.stop()

    def close(self) -> None:
        """End the process. Further ones have been closed."""
        with self._lock:
            self._further.clear()
        self._end()

    def _receive(self, process: GuardedProcess) -> bytes:
        """Wait until there is an answer, or the time is over.

        Raises:
            ProcessEnded: If the process ends before.
            ProcessTooSlow: If the time is over.
        """
        while True:
            left = min(self._deadline - time.monotonic(), self._most_computed - process.processor_seconds)
            try:
                return process.receive(max(left, _LEAST_WAIT))
            except ProcessTooSlow:
                if left <= 0:
                    raise

    def _start(self) -> GuardedProcess:
        with self._lock:
            if self._is_stopped:
                raise Stopped
            try:
                self._process = GuardedProcess("-m", _WORKER, niceness=self._niceness)
            except OSError as error:
                raise StartError(f"cannot start a process that tries models: {why_no_resource(error)}") from error
            self._is_ready = False
            return self._process

    def _unless_stopped(self, error: Exception) -> Exception:
        """The error that the end of the process is; but where `stop` has ended it, that."""
        return Stopped() if self._is_stopped else error

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()
