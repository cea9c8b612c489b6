"""Processes that try versions, kept from one server of a test process to the next.

The start of one costs 0.6 s of processor time, and tests start some 300 servers that need one for some milliseconds. A
server lets one process try all its models, one after the other, with limits of their own; so does this, over servers.
"""

import os
import sys
from pathlib import Path
from typing import Any

from rnnserve.server.repository.trial_process import Trial, TrialProcess
from rnnserve.server.repository.trials import Trials

__all__ = ["KeptTrials", "end_kept", "keep", "surroundings_of"]

_MOST = 2
"""Processes that are kept at the same time, with 60 MB each."""

_USERS = ("rnnserve.server.app", "support.loaded")
"""Modules whose servers, and repositories, use them. Tests of trials make their own."""

_kept: "list[_KeptProcess]" = []


class _KeptProcess(TrialProcess):
    """Tries versions for one server after the other."""

    def __init__(self, niceness: int) -> None:
        self.surroundings = surroundings_of(niceness)
        self._device = ""
        super().__init__(niceness)

    def begin(self, trial: Trial) -> None:
        if self.is_ready and trial.device != self._device:  # a process gets ready for one device
            self._end()
        self._device = trial.device
        super().begin(trial)

    @property
    def is_usable(self) -> bool:
        """Whether it has started, and nothing has ended it."""
        process = self._process
        return self.is_ready and not self._is_stopped and process is not None and process._popen.poll() is None


class KeptTrials(Trials):
    """Trials that take processes which others have left, and leave theirs."""

    def close(self) -> None:
        """Leave the processes that wait for a trial; end the others."""
        with self._lock:
            for one in self._idle:
                if isinstance(one, _KeptProcess) and one.is_usable and len(_kept) < _MOST:
                    self._processes.remove(one)
                    _kept.append(one)
        super().close()

    def _new_process(self) -> TrialProcess:
        wanted = surroundings_of(self._niceness)
        for one in list(_kept):
            if one.surroundings == wanted:
                _kept.remove(one)
                if one.is_usable:
                    return one
                one.close()
        return _KeptProcess(self._niceness)


def keep() -> None:
    """Let the servers of this process, and the repositories that tests load, use kept processes."""
    for name in _USERS:
        if name in sys.modules:
            module: Any = sys.modules[name]
            module.Trials = KeptTrials


def end_kept() -> None:
    """End the processes that are kept."""
    while _kept:
        _kept.pop().close()


def surroundings_of(niceness: int) -> object:
    """What a process has of the one that starts it."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTEST_CURRENT_TEST"}
    return niceness, Path.cwd(), tuple(sys.path), environment  # a repository may be named from where it is asked for
