"""Processes of load checks, kept from one server of a test process to the next.

The start of one costs 0.6 s of processor time, and tests start some 300 servers that need one for some milliseconds. A
server lets one process check all its models, one after the other, with limits of their own; so does this, over servers.

What a check has found is kept, too: most of these servers serve the same three models, whose checks take as long as all
else of a start. It holds for the same bytes, in the same surroundings, of a check that may take the same. What was
refused is checked again.
"""

import dataclasses
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rnnserve.common.guarded_process import GuardedProcess
from rnnserve.server.repository.findings import Findings, LoadCheck
from rnnserve.server.repository.load_checks import LoadChecks

_MOST = 2
"""Processes that are kept at the same time, with 60 MB each."""

_MOST_BYTES = 1 << 24
"""Bytes of a file whose digest is worth it."""

_USERS = ("rnnserve.server.app", "kit.loaded")
"""Modules whose servers, and repositories, use them. Tests of load checks make their own."""

_kept: "list[_Kept]" = []
_found: dict[object, Findings] = {}


class _Kept(NamedTuple):
    process: GuardedProcess
    surroundings: object
    is_ready: bool


class KeptChecks(LoadChecks):
    """Load checks in a process that another server has left, and that is left for others."""

    _known: Findings | None = None
    _begun: "tuple[LoadCheck, object] | None" = None
    _surroundings: object = None

    def begin(self, check: LoadCheck) -> None:
        key = _key_of(check, surroundings_of(self._niceness))
        self._begun = check, key
        self._known = None if self._is_stopped else _found.get(key)
        if self._known is None:
            super().begin(check)

    def outcome(self) -> Findings:
        if self._known is not None:
            return self._known
        found = super().outcome()
        assert self._begun is not None
        check, key = self._begun
        if key is not None and key == _key_of(check, surroundings_of(self._niceness)):  # the files that were checked
            _found[key] = found
        return found

    def close(self) -> None:
        """Leave the process if it waits for a check; else end it."""
        with self._lock:
            process = self._process
            if process is not None and not self._is_stopped and _is_alive(process) and len(_kept) < _MOST:
                _kept.append(_Kept(process, self._surroundings, self._is_ready))
                self._process, self._is_ready = None, False
        super().close()

    def _start(self) -> GuardedProcess:
        self._surroundings = surroundings_of(self._niceness)
        for kept in [kept for kept in _kept if kept.surroundings == self._surroundings]:
            _kept.remove(kept)
            if _is_alive(kept.process) and not self._is_stopped:
                self._process, self._is_ready = kept.process, kept.is_ready
                return kept.process
            kept.process.close()
        return super()._start()


def _is_alive(process: GuardedProcess) -> bool:
    return process._child.status() is None


def keep() -> None:
    """Let the servers of this process, and the repositories that tests load, use kept processes."""
    for name in _USERS:
        if name in sys.modules:
            module: Any = sys.modules[name]
            module.LoadChecks = KeptChecks


def end_kept() -> None:
    """End the processes that are kept."""
    while _kept:
        _kept.pop().process.close()


def _key_of(check: LoadCheck, surroundings: object) -> object:
    """What the outcome of a check depends on; None of what is no plain file, of links, and where files are changed."""
    folder = check.folder
    try:
        paths = sorted(folder.iterdir())
        if folder.resolve() != folder.absolute() or not all(map(_is_plain, paths)):
            return None
        files = [(path.name, hashlib.sha256(path.read_bytes()).digest()) for path in paths]
    except OSError:
        return None
    return repr((surroundings, dataclasses.replace(check, folder=Path(), inside=None), files))


def _is_plain(path: Path) -> bool:
    """Whether it is a file that is soon read: no link, no folder, and no pipe, which would wait for a writer."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size < _MOST_BYTES


def surroundings_of(niceness: int) -> object:
    """What a process has of the one that starts it."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTEST_CURRENT_TEST"}
    return niceness, Path.cwd(), tuple(sys.path), environment  # a repository may be named from where it is asked for
