"""The processes of load checks: a pool, of which one is started in advance. All are alike."""

import threading
from concurrent import futures

from rnnserve.server.errors import StartError
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.trial_process import Stopped, Trial, TrialProcess

__all__ = ["Trials"]

_NICENESS = 10
"""A tenth of the processor time that a process which serves gets beside it, where all processors are busy."""


class Trials:
    """Tries versions, each in a process that has no other one then. For one thread, except `stop`."""

    def __init__(self) -> None:
        """Start the first process, which imports what it needs while the server goes on.

        Raises:
            StartError: If no process can be started.
        """
        self._niceness = 0
        self._lock = threading.Lock()  # of those below: `stop` ends whatever processes there are
        self._is_stopped = False
        self._processes: list[TrialProcess] = []
        self._idle: list[TrialProcess] = []
        self._running: set[futures.Future[Findings]] = set()
        self._idle.append(self._started())

    def begin(self, trial: Trial) -> "futures.Future[Findings]":
        """Begin to try a version, in an idle process or a new one.

        Returns:
            What is found; or Refused, TooSlow, StartError or Stopped, as of `TrialProcess.outcome`.

        Raises:
            StartError: If no process or thread can be started.
            Stopped: If `stop` was called.
        """
        process = self._idle.pop() if self._idle else self._started()
        outcome: futures.Future[Findings] = futures.Future()
        self._running.add(outcome)
        outcome.add_done_callback(self._running.discard)
        thread = threading.Thread(target=self._run, args=(process, trial, outcome), name="trial", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._idle.append(process)
            self._running.discard(outcome)
            raise StartError("cannot start a thread that waits for a load check") from error
        return outcome

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
        """End the processes, whatever they do. Further load checks start others."""
        with self._lock:
            processes, self._processes = self._processes, []
        for process in processes:
            process.stop()
        futures.wait(set(self._running))
        for process in processes:
            process.close()
        self._idle.clear()

    def _run(self, process: TrialProcess, trial: Trial, outcome: "futures.Future[Findings]") -> None:
        try:
            process.begin(trial)
            found = process.outcome()
        except Exception as error:  # noqa: BLE001 - whoever waits for the outcome raises it
            self._idle.append(process)
            outcome.set_exception(error)
        else:
            self._idle.append(process)
            outcome.set_result(found)

    def _started(self) -> TrialProcess:
        with self._lock:
            if self._is_stopped:
                raise Stopped
            self._processes.append(self._new_process())
            return self._processes[-1]

    def _new_process(self) -> TrialProcess:
        return TrialProcess(self._niceness)
