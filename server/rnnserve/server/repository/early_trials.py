"""Further processes that try versions before their turn comes, where a repository has many and the machine has cores.

What they find is what the loader's own process would find. Whatever else comes of a trial here, the version is tried
again when its turn comes, with all the memory and time that it may have. So they refuse no version, and their limits
are small.
"""

from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Generic, TypeVar

from rnnserve.server.errors import StartError
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.trials import Refused, Stopped, TooSlow, Trials

__all__ = ["EARLY_BYTES", "VERSIONS_EACH", "EarlyTrials"]

EARLY_BYTES = 64 << 20
"""Memory that a version may take in one of these processes, beyond eight times its files: small models take 5 MB."""

VERSIONS_EACH = 8
"""Versions for which a further process is worth its start, which computes as long as the trials of so many do."""

T = TypeVar("T")


class EarlyTrials(Generic[T]):
    """Processes that try versions, each with a thread that waits for it. For one thread."""

    def __init__(self, new_trials: Callable[[], Trials], count: int) -> None:
        """Prepare; a process is started when the first version is tried in it.

        Args:
            new_trials: Starts a process.
            count: How many there may be.
        """
        self._new_trials = new_trials
        self._left = count
        self._idle: list[Trials] = []
        self._all: list[Trials] = []
        self._threads = futures.ThreadPoolExecutor(max(count, 1), "early trials")
        self._running: dict[futures.Future[Findings | None], tuple[T, Trials]] = {}

    @property
    def has_room(self) -> bool:
        """Whether another trial may begin."""
        return bool(self._idle or self._left)

    @property
    def are_running(self) -> bool:
        """Whether trials have begun that `take` has not given yet."""
        return bool(self._running)

    def begin(self, version: T, begin: Callable[[Trials], None]) -> None:
        """Begin to try a version, where there is room.

        Args:
            version: What `take` gives with what was found.
            begin: Begins its trial in a process; called in another thread.

        Raises:
            StartError: If no process can be started.
            Stopped: If no further one may be.
        """
        if not self._idle:
            self._left -= 1
            self._all.append(self._new_trials())
            self._idle.append(self._all[-1])
        trials = self._idle.pop()
        self._running[self._threads.submit(_try, trials, begin)] = version, trials

    def take(self, *, wait: bool) -> Iterable[tuple[T, Findings | None]]:
        """Give the versions whose trials have ended, with what was found; None where they did not pass, or not yet.

        Args:
            wait: Wait until there is one, where trials are running.
        """
        ended, _ = futures.wait(self._running, None if wait else 0, futures.FIRST_COMPLETED)
        taken = []
        for future in [future for future in self._running if future in ended]:  # in the order of their begin
            version, trials = self._running.pop(future)
            self._idle.append(trials)
            taken.append((version, future.result()))
        return taken

    def close(self) -> None:
        """End the processes, whatever they do."""
        for trials in self._all:
            trials.stop()
        self._threads.shutdown()
        for trials in self._all:
            trials.close()


def _try(trials: Trials, begin: Callable[[Trials], None]) -> Findings | None:
    try:
        begin(trials)
        return trials.outcome()
    except (Refused, TooSlow, Stopped, StartError):
        return None
