"""Changing what a repository serves while it serves: by looking at its folder now and then, or by being told to.

One thread makes all changes, one after another. Each is made beside what serves: a draft of the models that have
changed is tried, loaded and proven, and adopted as a whole. Requests that run or wait finish with the version that they
began with, which is freed after them.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent import futures

from rnnserve.server.errors import (
    InternalError,
    LoadFailed,
    NotFound,
    ShuttingDown,
    StartError,
    TooManyCalls,
    quoted,
)
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.folders import Fingerprint
from rnnserve.server.repository.giving_way import giving_way
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import Repository

__all__ = ["LiveRepository"]

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
"""Seconds at most between two calls of `on_tick`."""


class LiveRepository:
    """Changes what a repository serves. One thread calls `run`; any other the rest."""

    def __init__(
        self,
        models: Repository,
        new_loader: Callable[[Draft], Loader],
        *,
        poll: float | None,
        seen: Mapping[str, Fingerprint],
        on_tick: Callable[[], None],
        start_with: Collection[str] | None = None,
        settled_seconds: float = 0.25,
        most_waiting: int = 64,
    ) -> None:
        """Prepare; `run` makes the changes.

        Args:
            models: The models that serve.
            new_loader: A function that makes what loads a draft.
            poll: Seconds between two looks at the folder; None for none but those asked for.
            seen: Content of the folder when `models` was made or before: what differs from it has changed.
            on_tick: A function that is called after each change, and about once a second.
            start_with: The models that a start loads; None for all.
            settled_seconds: Seconds for which a folder has to stay as it is before it is loaded: a version may be being
                copied into it.
            most_waiting: Number of changes that may wait to be made.
        """
        self._settled_seconds = settled_seconds
        self._start_with = start_with
        self._models = models
        self._new_loader = new_loader
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
                self._make(change, done)
            self._on_tick()
        with contextlib.suppress(queue.Empty):
            while True:
                self._changes.get_nowait()[1].set_exception(_stopping())

    def stop(self) -> None:
        """Make no further change; `run` returns when the one that is being made has been."""
        with self._may_ask:
            self._is_stopped.set()
        with contextlib.suppress(queue.Full):
            self._changes.put_nowait((lambda: None, futures.Future()))

    def load(self, name: str) -> None:
        """Load a model as its folder is now, beside what serves of it; return when it serves.

        Raises:
            NotFound: If the repository has no such model.
            LoadFailed: If something of it cannot be loaded. Versions that served before serve on.
            TooManyCalls: If too many changes wait.
            ShuttingDown: If the server is stopping.
        """
        self._ask(lambda: self._load(name)).result()

    def unload(self, name: str) -> None:
        """Let a model not serve any more; return when it does not. One that does not serve is no error.

        Raises:
            LoadFailed: If the repository cannot be read.
            TooManyCalls: If too many changes wait.
            ShuttingDown: If the server is stopping.
        """
        self._ask(lambda: self._unload(name)).result()

    def look(self) -> "futures.Future[None]":
        """Look at the folder, and load what has changed: as by polling, but now."""
        return self._ask(self._look)

    def reload(self) -> "futures.Future[None]":
        """Load all models as their folders are now, beside what serves: what a restart does, in one process.

        Versions that cannot be loaded change nothing. Its result raises LoadFailed if the folder cannot be read, or no
        model is in it any more.
        """
        return self._ask(self._reload)

    def _ask(self, change: Callable[[], None]) -> "futures.Future[None]":
        done: futures.Future[None] = futures.Future()
        with self._may_ask:  # `run` answers what was asked before it was told to stop
            if self._is_stopped.is_set():
                raise _stopping()
            try:
                self._changes.put_nowait((change, done))
            except queue.Full:
                raise TooManyCalls("RepositoryModelLoad and RepositoryModelUnload", self._changes.maxsize) from None
        return done

    def _make(self, change: Callable[[], None], done: "futures.Future[None]") -> None:
        try:
            change()
        except BaseException as error:  # noqa: BLE001 - whoever asked is told, and further changes are to be made
            done.set_exception(error)
        else:
            done.set_result(None)

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
        except (StartError, LoadFailed, OSError) as error:
            _log.error("the repository is looked at again: %s", error)
        except Exception as error:  # noqa: BLE001 - a defect must not be the last look
            _log.error("%s", InternalError.hiding(error))

    def _reload(self) -> None:
        try:
            before = self._models.folders.fingerprints()
            if self._models.served() and not before:
                raise LoadFailed(f"no model lies in {self._models.root} any more")
            loader = self._update(
                {*self._models.models(), *(self._start_with if self._start_with is not None else before)}
            )
        except (OSError, StartError) as error:
            raise LoadFailed(f"the repository cannot be loaded: {error}") from error
        if loader.is_whole:
            self._seen = before

    def _load(self, name: str) -> None:
        if not self._models.has_folder(name):
            raise NotFound(f"failed to load {quoted(name)}, failed to poll from model repository: it has no such model")
        try:
            loader = self._update([name])
        except StartError as error:
            raise LoadFailed(f"failed to load {quoted(name)}: {error}") from error
        if not loader.is_whole and self._is_stopped.is_set():
            raise _stopping()
        if loader.faults or loader.fault is not None:
            raise LoadFailed(f"failed to load {quoted(name)}: {'; '.join(loader.faults) or loader.fault}")

    def _update(self, names: Collection[str]) -> Loader:
        """Load some models as their folders are now, and let them serve; return what loaded them."""
        draft = self._models.draft(names)
        loader = self._new_loader(draft)
        with self._models.showing(draft), giving_way():
            loader.load()
            if not self._is_stopped.is_set():
                self._let_serve(draft, names)
        return loader

    def _unload(self, name: str) -> None:
        if self._models.has(name):
            try:
                draft = self._models.draft([name])
                draft.unload()
                self._let_serve(draft, [name])
            except StartError as error:
                raise LoadFailed(f"failed to unload {quoted(name)}: {error}") from error

    def _let_serve(self, draft: Draft, names: Collection[str]) -> None:
        self._models.settle(draft)
        self._models.adopt(draft, names)
        self._on_tick()
        for name in names:
            _log.info("%s: %s", name, self._models.in_words(name))


def _stopping() -> ShuttingDown:
    return ShuttingDown("the server is shutting down")
