"""Changing what a repository serves while it serves: by looking at its folder now and then, or by being told to.

One thread makes all changes, one after another. Each is made beside what serves: a draft of the models that have
changed is tried, loaded and proven, and adopted as a whole. Requests that run or wait finish with the version that they
began with, which is freed after them.

Workers change together (`Agreement`): one loads a draft and proposes it, the others load the same versions with the
same digests, and only when all have it do all adopt it.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent import futures
from typing import Protocol

from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.error_texts import quoted
from rnnserve.server.errors import (
    InternalError,
    LoadFailed,
    NotFound,
    ServeError,
    ShuttingDown,
    StartError,
    TooManyCalls,
)
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.folders import Fingerprint
from rnnserve.server.repository.giving_way import giving_way
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.pinned_loader import find_versions
from rnnserve.server.repository.pins import Found, Pins, replace_pins
from rnnserve.server.repository.repository import Repository

__all__ = ["Agreement", "Alone", "LiveRepository"]

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
"""Seconds at most between two calls of `on_tick`."""


class Agreement(Protocol):
    """How several servers of one repository change what they serve together."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Wait until no other changes anything, and let no other while inside.

        Raises:
            LoadFailed: If that takes too long.
        """

    def propose(self, names: Collection[str], pins: Pins, found: Found) -> None:
        """Have the others load what this one has loaded; return when all have. Then it is to be adopted.

        Args:
            names: The models that change.
            pins: The versions that serve then, of all models.
            found: Findings about the versions that are new.

        Raises:
            LoadFailed: If one of them cannot load it, so that none adopts it.
        """

    def adopted(self) -> None:
        """Say that this server has adopted what it proposed; return when all have."""

    def close(self) -> None:
        """Let what waits for others fail: this server stops."""


class Alone:
    """The agreement of a server with itself."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Wait for none."""
        return contextlib.nullcontext()

    def propose(self, names: Collection[str], pins: Pins, found: Found) -> None:
        """Agree."""

    def adopted(self) -> None:
        """Wait for none."""

    def close(self) -> None:
        """Nothing waits."""


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
        agreement: Agreement | None = None,
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
            agreement: An agreement with the other servers of the repository.
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
        self._agreement = agreement or Alone()
        self._changes: queue.Queue[tuple[Callable[[], None], futures.Future[None]]] = queue.Queue(most_waiting)
        self._is_stopped = threading.Event()
        self._may_ask = threading.Lock()
        self._seen = seen
        self._prepared: tuple[Draft, Collection[str]] | None = None

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
        self._agreement.close()
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
        with self._agreement.turn():
            self._ask(lambda: self._load(name)).result()

    def unload(self, name: str) -> None:
        """Let a model not serve any more; return when it does not. One that does not serve is no error.

        Raises:
            LoadFailed: If the other servers do not agree, or the repository cannot be read.
            TooManyCalls: If too many changes wait.
            ShuttingDown: If the server is stopping.
        """
        with self._agreement.turn():
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

    def mend(self, names: Collection[str], pins: Pins) -> "futures.Future[None]":
        """Load what the other servers serve, if it can be had again, and keep it for `adopt`.

        Its result raises LoadFailed if it cannot be had. That is looked at first: files are gone for long, perhaps, and
        each trial would fill the log.
        """
        return self._ask(lambda: self._mend(names, pins))

    def prepare(self, names: Collection[str], pins: Pins, found: Found) -> "futures.Future[None]":
        """Load what another server proposes, and keep it for `adopt`.

        Its result raises LoadFailed if the same versions cannot be had here.
        """
        return self._ask(lambda: self._prepare(names, pins, found))

    def adopt(self) -> "futures.Future[None]":
        """Let what was prepared serve."""
        return self._ask(self._adopt)

    def abandon(self) -> None:
        """Drop what was prepared."""
        with contextlib.suppress(ServeError):
            self._ask(self._abandon)

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

    def _mend(self, names: Collection[str], pins: Pins) -> None:
        folders = self._models.folders
        for name in names:
            try:
                find_versions(
                    folders.of(name), name, pins[name], self._models.inside, folders.only, self._models.signed.gate
                )
            except (ArtifactError, OSError) as error:
                raise LoadFailed(f"{name}: {error}") from error
        self._prepare(names, pins, [])

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
                self._propose(draft, names, [(*key, found.as_fields()) for key, found in loader.found.items()])
        return loader

    def _unload(self, name: str) -> None:
        if self._models.has(name):
            try:
                draft = self._models.draft([name])
                draft.unload()
                self._propose(draft, [name], [])
            except StartError as error:
                raise LoadFailed(f"failed to unload {quoted(name)}: {error}") from error

    def _propose(self, draft: Draft, names: Collection[str], found: Found) -> None:
        self._models.settle(draft)
        self._agreement.propose(names, replace_pins(self._models.pins(), names, draft.pins()), found)
        self._let_serve(draft, names)
        self._agreement.adopted()

    def _prepare(self, names: Collection[str], pins: Pins, found: Found) -> None:
        self._prepared = None
        try:
            draft = self._models.draft(names, pins)
        except StartError as error:
            raise LoadFailed(str(error)) from error
        loader = self._new_loader(draft)
        with self._models.showing(draft), giving_way():
            loader.load({(name, version): Findings.from_fields(fields) for name, version, fields in found})
        if not draft.serves(pins):
            raise LoadFailed("; ".join(loader.faults) or str(loader.fault))
        self._prepared = draft, names

    def _adopt(self) -> None:
        if self._prepared is not None:
            self._let_serve(*self._prepared)
            self._abandon()

    def _abandon(self) -> None:
        self._prepared = None

    def _let_serve(self, draft: Draft, names: Collection[str]) -> None:
        self._models.adopt(draft, names)
        self._on_tick()
        for name in names:
            _log.info("%s: %s", name, self._models.in_words(name))


def _stopping() -> ShuttingDown:
    return ShuttingDown("the server is shutting down")
