"""Models that clients have loaded and unloaded (`--model-control explicit`), in a file that every worker follows.

The worker that is asked loads or unloads the model itself, writes that down, and answers. The others read it within a
second, and do the same. One that is started later begins with what is written there.
"""

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from rnnserve.server.errors import ServeError
from rnnserve.server.repository.live import LiveRepository

__all__ = ["DesiredModels"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5

Changes = Mapping[str, tuple[int, bool]]
"""By the model's name: the number of its last change, counted over all models, and whether it is to be loaded."""


class DesiredModels:
    """The file, as one worker uses it. Any thread may load and unload."""

    def __init__(self, path: Path) -> None:
        """Read what is desired now; `follow` follows it.

        Args:
            path: The file, which need not be there, in a folder that workers may write to.
        """
        self._path = path
        self._done: dict[str, int] = {name: number for name, (number, _) in self._read().items()}
        self._live: LiveRepository | None = None

    def start_with(self, wanted: Collection[str] | None, present: Collection[str]) -> Collection[str]:
        """Name the models to load at the start.

        Args:
            wanted: The models that the options name; None for all.
            present: The models that the repository has.
        """
        names = set(present if wanted is None else wanted)
        for name, (_, is_loaded) in self._read().items():
            if not is_loaded:
                names.discard(name)
            elif name in present:
                names.add(name)
        return sorted(names)

    def follow(self, live: LiveRepository) -> None:
        """Do from now on what other workers write down, on another thread."""
        self._live = live
        threading.Thread(target=self._follow, name="desired models", daemon=True).start()

    def note(self, name: str, is_loaded: bool) -> None:
        """Write down that this worker has loaded or unloaded a model, for the others."""
        with self._locked():
            changes = dict(self._read())
            number = 1 + max([number for number, _ in changes.values()], default=0)
            changes[name] = number, is_loaded
            written = self._path.with_suffix(".new")
            written.write_text(json.dumps(changes))
            written.rename(self._path)
            self._done[name] = number

    def _follow(self) -> None:
        pause, seen = threading.Event(), (0, 0)
        while not pause.wait(_LOOK_SECONDS):
            with contextlib.suppress(FileNotFoundError):
                written = self._path.stat()
                if (written.st_ino, written.st_mtime_ns) != seen:
                    seen = written.st_ino, written.st_mtime_ns
                    self._catch_up()

    def _catch_up(self) -> None:
        assert self._live is not None  # noqa: S101 - `follow` has set it
        for name, (number, is_loaded) in self._read().items():
            if number <= self._done.get(name, 0):
                continue
            self._done[name] = number
            try:
                (self._live.load if is_loaded else self._live.unload)(name)
            except ServeError as error:
                _log.error("another worker has %s %s: %s", "loaded" if is_loaded else "unloaded", name, error)

    def _read(self) -> Changes:
        try:
            return {
                name: (number, is_loaded) for name, (number, is_loaded) in json.loads(self._path.read_text()).items()
            }
        except FileNotFoundError:
            return {}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other worker write inside."""
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
