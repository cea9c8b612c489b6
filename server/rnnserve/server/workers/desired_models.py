"""The file of models that clients have loaded and unloaded (`--model-control explicit`), shared by all workers.

The worker that gets the request loads or unloads the model, writes the change to the file, and responds. The other
workers read the file within a second and make the same change. A new worker starts with the models in the file.
"""

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from rnnserve.server.errors import ServeError, ShuttingDown
from rnnserve.server.repository.live import LiveRepository

__all__ = ["DesiredModels"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5

_AGAIN_SECONDS = 5.0
"""Seconds until a failed change is retried."""


class DesiredModels:
    """One worker's view of the file. Any thread may load and unload."""

    def __init__(self, path: Path) -> None:
        """Read the current file, which may be missing. Its folder must be writable for workers."""
        self._path = path
        self._done = {name: number for name, (number, _) in self._read().items()}
        # Failed changes, by model: the change's number, when it is retried, and why it failed.
        self._missed: dict[str, tuple[int, float, str]] = {}

    def start_with(self, wanted: Collection[str] | None, present: Collection[str]) -> Collection[str]:
        """Return the models to load at the start: `wanted` (None: all `present`), updated by later changes."""
        names = set(present if wanted is None else wanted)
        for name, (_, is_loaded) in self._read().items():
            if not is_loaded:
                names.discard(name)
            elif name in present:
                names.add(name)
        return sorted(names)

    def note(self, name: str, is_loaded: bool) -> None:
        """Record for the other workers that this worker has loaded or unloaded a model."""
        with self._locked():
            changes = self._read()
            number = 1 + max([number for number, _ in changes.values()], default=0)
            changes[name] = number, is_loaded
            written = self._path.with_suffix(".new")
            written.write_text(json.dumps(changes))
            written.rename(self._path)
            self._done[name] = number

    def follow(self, live: LiveRepository) -> None:
        """Start a thread that makes the changes recorded by other workers."""

        def follow() -> None:
            pause = threading.Event()
            while not pause.wait(_LOOK_SECONDS):
                try:
                    self.catch_up(live, time.monotonic())
                except ShuttingDown:
                    return
                except OSError as error:
                    _log.error("Cannot read the models that clients have loaded; retrying: %s", error)

        threading.Thread(target=follow, name="desired models", daemon=True).start()

    def catch_up(self, live: LiveRepository, now: float) -> None:
        """Make the due changes of other workers. Raise ShuttingDown if the server is stopping."""
        for name, (number, is_loaded) in self._read().items():
            tried, retry_at, said = self._missed.get(name, (0, 0.0, ""))
            if number <= self._done.get(name, 0) or (tried == number and now < retry_at):
                continue
            words = f"another worker has {'loaded' if is_loaded else 'unloaded'} {name}"
            try:
                (live.load if is_loaded else live.unload)(name)
            except ShuttingDown:
                raise
            except Exception as error:  # noqa: BLE001 - any failure is retried
                reason = str(error) if isinstance(error, ServeError) else repr(error)
                self._missed[name] = number, now + _AGAIN_SECONDS, reason
                if (tried, said) != (number, reason):
                    _log.error("%s, but this worker failed: %s; retrying", words, reason)
            else:
                self._done[name] = max(number, self._done.get(name, 0))
                if self._missed.pop(name, None) is not None:
                    _log.info("%s, and this worker has now done the same", words)

    def _read(self) -> dict[str, tuple[int, bool]]:
        """Return, by model, the number of its last change (counted over all models) and whether it is loaded."""
        try:
            changes = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        return {name: (number, is_loaded) for name, (number, is_loaded) in changes.items()}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
