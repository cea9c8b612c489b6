"""Load and unload models while serving, after changes in the repository's folder or on request.

One thread makes all changes, one after another. Running and pending requests finish on their version, which is freed
after the last of them.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent import futures

from rnnserve.server.errors import InternalError, LoadFailed, NotFound, ShuttingDown, TooManyCalls, quoted
from rnnserve.server.repository.folders import Fingerprint
from rnnserve.server.repository.loader import Loader, Outcome
from rnnserve.server.repository.repository import Repository
from rnnserve.server.system import giving_way

__all__ = ["LiveRepository"]

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
"""Seconds at most between two calls of `on_tick`."""


class LiveRepository:
    """Loads and unloads models. One thread calls `run`. Any thread can call the other methods."""

    def __init__(
        self,
        models: Repository,
        loader: Loader,
        *,
        poll: float | None,
        seen: Mapping[str, Fingerprint],
        on_tick: Callable[[], None],
        start_with: Collection[str] | None = None,
        settled_seconds: float = 0.25,
        most_waiting: int = 64,
    ) -> None:
        """Prepare; `run` makes the changes.

        `poll` is the number of seconds between two scans of the folder, or None. A change since `seen` is loaded once
        the files have stayed the same for `settled_seconds`, because a copy may still be in progress. `start_with`
        names the models to load at the start, or None for all.
        """
        self._settled_seconds = settled_seconds
        self._start_with = start_with
        self._models = models
        self._loader = loader
        self._poll = poll
        self._on_tick = on_tick
        self._changes: queue.Queue[tuple[Callable[[], None], futures.Future[None]]] = queue.Queue(most_waiting)
        self._is_stopped = threading.Event()
        self._may_ask = threading.Lock()
        self._seen = seen

    def run(self) -> None:
        """Make changes, one after another, until `stop`."""
        look_at = time.monotonic() + (self._poll or 0.0)
        while not self._is_stopped.is_set():
            if self._poll is not None and time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + self._poll
            wait = _TICK_SECONDS if self._poll is None else min(max(look_at - time.monotonic(), 0.0), _TICK_SECONDS)
            with contextlib.suppress(queue.Empty):
                change, done = self._changes.get(timeout=wait)
                try:
                    change()
                except BaseException as error:  # noqa: BLE001 - the caller gets the error, and further changes follow
                    done.set_exception(error)
                else:
                    done.set_result(None)
            self._on_tick()
        with contextlib.suppress(queue.Empty):
            while True:
                self._changes.get_nowait()[1].set_exception(_stopping())

    def stop(self) -> None:
        """Make no further change. `run` returns when the current change is complete."""
        with self._may_ask:
            self._is_stopped.set()
        with contextlib.suppress(queue.Full):
            self._changes.put_nowait((lambda: None, futures.Future()))

    def load(self, name: str) -> None:
        """Load a model and keep its versions. Raises NotFound, TooManyCalls, ShuttingDown or LoadFailed."""
        self._ask(lambda: self._load(name)).result()

    def unload(self, name: str) -> None:
        """Unload a model and return when it no longer serves. Raises as `load`, except NotFound."""
        self._ask(lambda: self._unload(name)).result()

    def reload(self) -> "futures.Future[None]":
        """Load all models again, as a restart does. The result raises LoadFailed if no model can be found any more."""
        return self._ask(self._reload)

    def _ask(self, change: Callable[[], None]) -> "futures.Future[None]":
        done: futures.Future[None] = futures.Future()
        with self._may_ask:  # `run` completes the calls made before `stop`
            if self._is_stopped.is_set():
                raise _stopping()
            try:
                self._changes.put_nowait((change, done))
            except queue.Full:
                raise TooManyCalls("RepositoryModelLoad and RepositoryModelUnload", self._changes.maxsize) from None
        return done

    def _look(self) -> None:
        """Load the models whose folders have changed, and have stayed as they are for a moment."""
        try:
            before = self._models.folders.fingerprints()
            changed = {name for name in {*before, *self._seen} if before.get(name) != self._seen.get(name)}
            if not changed or self._is_stopped.wait(self._settled_seconds):
                return
            after = self._models.folders.fingerprints()
            settled = {name for name in changed if before.get(name) == after.get(name)}
            if settled and self._update(settled).is_whole:
                self._seen = {name: found for name, found in self._seen.items() if name not in settled} | {
                    name: after[name] for name in settled if name in after
                }
        except (LoadFailed, OSError) as error:
            _log.error("scanning the repository again: %s", error)
        except Exception as error:  # noqa: BLE001 - a defect must not be the last look
            _log.error("%s", InternalError.hiding(error))

    def _reload(self) -> None:
        try:
            before = self._models.folders.fingerprints()
        except OSError as error:
            raise LoadFailed(f"the repository cannot be loaded: {error}") from error
        if self._models.served() and not before:
            raise LoadFailed(f"there are no models in {self._models.folders.root} any more")
        names = {*self._models.models(), *(before if self._start_with is None else self._start_with)}
        if self._update(names).is_whole:
            self._seen = before

    def _load(self, name: str) -> None:
        if not name.isprintable() or name not in self._folders():
            raise NotFound(f"failed to load {quoted(name)}, failed to poll from model repository: it has no such model")
        outcome = self._update([name])
        if not outcome.is_whole and self._is_stopped.is_set():
            raise _stopping()
        if outcome.faults or outcome.error is not None:
            raise LoadFailed(f"failed to load {quoted(name)}: {'; '.join(outcome.faults) or outcome.error}")

    def _unload(self, name: str) -> None:
        if (entry := self._models.entry(name)) is not None:
            if name in self._folders():
                self._models.put(name, entry.unloaded())
            else:
                self._models.remove(name)
            self._tell([name])

    def _update(self, names: Collection[str]) -> Outcome:
        """Load some models from their folders, and forget models without a folder."""
        folders = self._folders()
        for name in names:
            if name not in folders:
                self._models.remove(name)
        with giving_way():
            outcome = self._loader.load(sorted(name for name in names if name in folders and name.isprintable()))
        self._tell(names)
        return outcome

    def _folders(self) -> Collection[str]:
        try:
            return self._models.folders.find().keys()
        except OSError as error:
            raise LoadFailed(f"the repository's folder cannot be read: {error.strerror}") from error

    def _tell(self, names: Collection[str]) -> None:
        self._on_tick()
        for name in names:
            versions = self._models.versions(name) if self._models.is_served(name) else []
            _log.info("%s: now serving version %s", name, ", ".join(versions) or "none")


def _stopping() -> ShuttingDown:
    return ShuttingDown("the server is shutting down")
