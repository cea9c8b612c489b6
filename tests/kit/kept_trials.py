"""Processes that try versions, kept from one server of a test process to the next.

The start of one costs 0.6 s of processor time, and tests start some 300 servers that need one for some milliseconds. A
server lets one process try all its models, one after the other, with limits of their own; so does this, over servers.

What a trial has found is kept, too: most of these servers serve the same three models, whose trials take as long as all
else of a start. It holds for the same bytes, in the same surroundings, of a trial that may take the same. What was
refused is tried again.
"""

import dataclasses
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.trial_process import Trial, TrialProcess
from rnnserve.server.repository.trials import Trials

__all__ = ["KeptTrials", "end_kept", "keep", "surroundings_of"]

_MOST = 2
"""Processes that are kept at the same time, with 60 MB each."""

_MOST_BYTES = 1 << 24
"""Bytes of a file whose digest is worth it."""

_USERS = ("rnnserve.server.app", "kit.loaded")
"""Modules whose servers, and repositories, use them. Tests of trials make their own."""

_kept: "list[_KeptProcess]" = []
_found: dict[object, Findings] = {}


class _KeptProcess(TrialProcess):
    """Tries versions for one server after the other."""

    def __init__(self, niceness: int) -> None:
        self.surroundings = surroundings_of(niceness)
        self._device = ""
        self._tried: tuple[Trial, object] | None = None
        self._known: Findings | None = None
        super().__init__(niceness)

    def begin(self, trial: Trial) -> None:
        key = _key_of(trial, self.surroundings)
        self._tried, self._known = (trial, key), _found.get(key)
        if self._known is not None and not self._is_stopped:
            return
        self._known = None
        if self.is_ready and trial.device != self._device:  # a process gets ready for one device
            self._end()
        self._device = trial.device
        super().begin(trial)

    def outcome(self) -> Findings:
        if self._known is not None:
            return self._known
        found = super().outcome()
        trial, key = self._tried
        if key is not None and key == _key_of(trial, self.surroundings):  # the files are the ones that were tried
            _found[key] = found
        return found

    @property
    def is_usable(self) -> bool:
        """Whether nothing has ended it. It may not have been asked for anything yet."""
        process = self._process
        return not self._is_stopped and process is not None and process._child.status() is None


class KeptTrials(Trials):
    """Trials that take processes which others have left, and leave theirs."""

    def close(self) -> None:
        """Leave the processes that wait for a trial. End the others."""
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


def _key_of(trial: Trial, surroundings: object) -> object:
    """What the outcome of a trial depends on; None of what is no plain file, of links, and where files are changed."""
    folder = trial.folder
    try:
        paths = sorted(folder.iterdir())
        if folder.resolve() != folder.absolute() or not all(map(_is_plain, paths)):
            return None
        files = [(path.name, hashlib.sha256(path.read_bytes()).digest()) for path in paths]
    except OSError:
        return None
    return repr((surroundings, dataclasses.replace(trial, folder=Path(), inside=None), files))


def _is_plain(path: Path) -> bool:
    """Whether it is a file that is soon read: no link, no folder, and no pipe, which would wait for a writer."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size < _MOST_BYTES


def surroundings_of(niceness: int) -> object:
    """What a process has of the one that starts it."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTEST_CURRENT_TEST"}
    return niceness, Path.cwd(), tuple(sys.path), environment  # a repository may be named from where it is asked for
