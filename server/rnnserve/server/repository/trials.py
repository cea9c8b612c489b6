"""The processes that try versions: as many at the same time as there are cores and versions for.

One is started in advance. All are alike: what a trial may take, it is given with the trial.
"""

import functools
import queue
import threading
from collections.abc import Callable

from rnnserve.server.errors import StartError
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.load_order import Candidate
from rnnserve.server.repository.trial_process import Stopped, Trial, TrialProcess

__all__ = ["Outcome", "Trials"]

_NICENESS = 10
"""A tenth of the processor time that a process which serves gets beside it, where all processors are busy."""

Outcome = Findings | Exception
"""What came of a trial: what was found, or what `TrialProcess.outcome` has raised."""


class Trials:
    """Tries versions, each in a process that has no other one then. For one thread, but for `stop`."""

    def __init__(self) -> None:
        """Start the first process, which imports what it needs while the server goes on.

        Raises:
            StartError: If no process can be started.
        """
        self._niceness = 0
        self._lock = threading.Lock()  # of the two below: `stop` ends whatever processes there are
        self._is_stopped = False
        self._processes: list[TrialProcess] = []
        self._running: dict[TrialProcess, Candidate] = {}
        self._first: Callable[[], None] | None = None  # waits for the trial that began while no other ran
        self._ended: queue.SimpleQueue[tuple[TrialProcess, Outcome]] = queue.SimpleQueue()
        self._idle = [self._started()]

    @property
    def running(self) -> int:
        """The number of trials that have begun and that `take` has not given yet."""
        return len(self._running)

    def begin(self, version: Candidate, trial: Trial) -> None:
        """Begin to try a version, in a process that is idle or else a new one; `take` gives what came of it.

        Args:
            version: The version, which `take` gives with its outcome.
            trial: The trial.

        Raises:
            StartError: If no process can be started.
            Stopped: If `stop` was called.
        """
        process = self._idle.pop() if self._idle else self._started()
        begins_here = process.is_ready
        if begins_here:  # at once: another thread would have to wait for Python's lock, while this one loads versions
            process.begin(trial)
        wait = functools.partial(self._wait, process, None if begins_here else trial)
        if not self._running:
            self._first = wait
        elif not _has_started(wait):
            raise StartError("cannot start a thread that waits for a trial")
        self._running[process] = version

    def take(self, *, wait: bool = True) -> list[tuple[Candidate, Outcome]]:
        """Give the versions whose trials have ended, in this order, with what came of them.

        Args:
            wait: Whether to wait until there is one, where trials are running.
        """
        first = self._first
        if first is not None and (len(self._running) > 1 and _has_started(first)):
            self._first = None
        elif first is not None and wait:  # no thread where one trial runs: that takes longer
            self._first = None
            first()
        taken: list[tuple[Candidate, Outcome]] = []
        while self._running:
            try:
                process, outcome = self._ended.get(block=wait and not taken)
            except queue.Empty:
                break
            self._idle.append(process)
            taken.append((self._running.pop(process), outcome))
        return taken

    def give_way(self) -> None:
        """Let processes that are started from now on give way to this one, which serves."""
        self._niceness = _NICENESS

    def stop(self) -> None:
        """End what runs; nothing can be tried after that. Any thread may call this."""
        with self._lock:
            self._is_stopped = True
            for process in self._processes:
                process.stop()

    def close(self) -> None:
        """End the processes, whatever they do. Further trials start others."""
        with self._lock:
            processes, self._processes = self._processes, []
        for process in processes:
            process.stop()
        while self._running:
            self.take()
        for process in processes:
            process.close()
        self._idle.clear()

    def _started(self) -> TrialProcess:
        with self._lock:
            if self._is_stopped:
                raise Stopped
            self._processes.append(self._new_process())
            return self._processes[-1]

    def _new_process(self) -> TrialProcess:
        return TrialProcess(self._niceness)

    def _wait(self, process: TrialProcess, trial: Trial | None) -> None:
        """Wait for the outcome of a trial, which is to be begun unless it is None."""
        outcome: Outcome
        try:
            if trial is not None:
                process.begin(trial)
            outcome = process.outcome()
        except Exception as error:  # noqa: BLE001 - the thread that takes the outcome raises it
            outcome = error
        self._ended.put((process, outcome))


def _has_started(wait: Callable[[], None]) -> bool:
    """Start a thread, if one can be had."""
    try:
        threading.Thread(target=wait, name="trial", daemon=True).start()
    except RuntimeError:
        return False
    return True
