"""A complete server: assembles the packages, loads the models, and runs until it is stopped."""

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Self

from rnnserve.server.batching.execution import longest_run
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.counting import places
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import ServeError
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.folders import Fingerprint, ModelFolders
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.load_checks import LoadChecks
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.model_state import ModelState
from rnnserve.server.repository.providers import choose_device
from rnnserve.server.repository.repository import Repository, Status
from rnnserve.server.settings import Settings
from rnnserve.server.transport.grpc_server import GrpcServer
from rnnserve.server.workers.desired_models import DesiredModels

__all__ = ["Server"]

_log = logging.getLogger(__name__)

_END_SECONDS = 0.5
"""Seconds after the transport's end in which cut-off inference calls and a load in progress may end."""

_WATCH_SECONDS = 1.0
"""Seconds between checks for stuck inference calls. With the default of `max_run`, a worker with such a call is
replaced within 15 s."""


class Server:
    """Serve a repository. As a context manager, it serves within the block and stops everything after it.

    Attributes:
        port: The gRPC port.
        address: Host and port, for clients.
        stuck: Why the server is neither ready nor live: an inference call that never ends, or a defect that stopped
            the thread that receives requests. Empty otherwise.
        live: Loads and unloads models at runtime. With `model_control` "none", neither clients nor the folder can.

    Example:
        from pathlib import Path
        from rnnserve.client import Client
        from rnnserve.server import Server, Settings

        with Server(Settings(Path("repository"), grpc_port=0)) as server, Client(server.address) as client:
            print(client.is_ready("direction_simple"))  # True
    """

    def __init__(
        self,
        settings: Settings,
        checks: LoadChecks | None = None,
        desired_models: Path | None = None,
    ) -> None:
        """Read the repository's folder and, unless the port is shared, listen. Loads no models yet.

        Args:
            settings: Which models to serve, and how.
            checks: The process for load checks. None starts one now.
            desired_models: The file through which workers share the models that clients load and unload. None
                without workers.

        Raises:
            StartError: If the repository, the provider or the port cannot be used.
        """
        self._settings = settings
        checks = checks or LoadChecks()
        try:
            device = choose_device(settings.provider)
            is_live = settings.model_control != "none"
            seen: Mapping[str, Fingerprint] = {}
            wanted: Collection[str] | None = settings.wanted_models
            if is_live and settings.repository.is_dir():
                seen = ModelFolders(settings.repository, settings.model_name).fingerprints()
            self._desired = None
            if settings.model_control == "explicit" and desired_models is not None:
                self._desired = DesiredModels(desired_models)
                wanted = self._desired.start_with(wanted, seen)
            self._repository = Repository(
                settings.repository,
                only=settings.model_name,
                wanted=wanted,
                control=settings.model_control,
                ready=settings.ready,
            )
            self._checks = checks
            self._loader = Loader(self._repository, checks, device, settings)
            self.live = LiveRepository(
                self._repository,
                self._loader,
                poll=settings.poll if settings.model_control == "poll" else None,
                seen=seen,
                on_tick=self._tick,
                start_with=wanted,
            )
            self._schedulers = Schedulers(QueueLimits(settings.max_queue, settings.max_wait))
            live = self.live if is_live else None
            if self._desired is None:
                self._service = Service(self._repository, settings, live)
            else:
                self._service = Service(self._repository, settings, live, self._desired.note)
            self._transport = GrpcServer(self._service, self._schedulers, settings)
        except BaseException:
            checks.close()
            raise
        self.port = self._transport.port
        self.address = f"{settings.host}:{self.port}"
        self._loading = threading.Thread(target=self._load, name="loader", daemon=True)
        self._announcing = threading.Lock()
        self._not_ready_since = 0.0  # when it began to report that it isn't ready
        self._fitted = self._repository.generation  # at the last adjustment of the byte limit
        self.stuck = ""
        self._is_stopping = threading.Event()
        self._watching = threading.Thread(target=self._watch_runs, name="run watch", daemon=True)

    def start(self) -> None:
        """Start serving (live, not ready), load and verify the models, and become ready.

        A server that shares its port loads its models first. Otherwise a client could get an error about a loading
        model although another process could have answered.

        Raises:
            StartError: If no model can be served.
        """
        if self._settings.share_port:
            self.load()
            self.listen()
        else:
            self.listen()
            self.load()

    def load(self) -> None:
        """Load and verify the models, and become ready. This is the first or second part of `start`.

        If other versions serve, slow versions are loaded later in the background. Until then, their status is LOADING,
        and the server as a whole is not ready. Raises StartError if no model can be served.
        """
        self._loading.start()
        self._loader.wait()
        self._announce()

    def listen(self) -> None:
        """Start serving: the other part of `start`. Raises StartError if the port is shared and cannot be used."""
        self._transport.start()
        self._watching.start()

    def models(self) -> dict[str, ModelState]:
        """Return the state of each model to load, by name."""
        return self._repository.in_short()

    def statuses(self) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Return each model with the status of each of its versions."""
        return self._repository.statuses()

    def count_gauges(self) -> None:
        """Update the gauges: pending requests, bytes in flight, and served models."""
        table = used_table()
        table.process[places.HELD_BYTES] = self._transport.held_bytes
        table.process[places.IN_FLIGHT] = self._transport.in_flight
        table.process[places.SEQUENCES] = self._service.sequences.count
        waiting, dispatched = self._schedulers.queued(), self._transport.dispatcher.queued()
        queued = {
            (served.model.name, served.model.version): sum(
                waiting[each] + dispatched.get(each, 0) for each in served.models
            )
            for served in self._repository.served()
        }
        for row in table.rows():
            row.counts[places.READY] = (row.model, row.version) in queued
            row.counts[places.QUEUED] = queued.get((row.model, row.version), 0)

    def reload(self) -> None:
        """Load the current repository while the old models keep serving. The outcome is logged."""
        _log.info("SIGHUP: loading the current repository while the old models keep serving")

        def tell(done: "futures.Future[None]") -> None:
            count_in_process(places.RELOADED if done.exception() is None else places.NOT_RELOADED)
            if done.exception() is None:
                _log.info("SIGHUP: the repository has been loaded again")
            else:
                _log.error("SIGHUP: %s; still serving the previous models", done.exception())

        try:
            self.live.reload().add_done_callback(tell)
        except ServeError as error:
            count_in_process(places.NOT_RELOADED)
            _log.error("SIGHUP: %s; still serving the previous models", error)

    def drain(self) -> None:
        """Report not ready, and keep serving until `settings.drain` seconds after the first such report."""
        if self._settings.drain:
            self.say_not_ready()
            time.sleep(max(0.0, self._not_ready_since + self._settings.drain - time.monotonic()))

    def say_not_ready(self) -> None:
        """Report from now on that this server isn't ready. It still serves requests."""
        if not self._service.is_draining:
            self._not_ready_since = time.monotonic()
        self._service.is_draining = True
        self._transport.health.drain()

    def stop(self, grace: float | None = None) -> list[str]:
        """Accept no new requests, and end after those in progress or after the grace period.

        Args:
            grace: Maximum seconds for requests in progress. None uses `settings.grace`.

        Returns:
            Descriptions of the parts still running 2.5 seconds after that. They are also logged. Python cannot
            exit normally while their threads run.
        """
        self._is_stopping.set()
        self.live.stop()
        self._checks.stop()
        if self._loading.ident is None:  # it never started (otherwise it ends with its check processes)
            self._checks.close()
        seconds = self._settings.grace if grace is None else grace
        started = time.monotonic()
        left = self._transport.stop(seconds)
        rest = max(seconds - (time.monotonic() - started), 0.0) + _END_SECONDS
        left += [f"a run of {name}" for name in self._schedulers.close(rest)]
        if self._loading.is_alive():
            self._loading.join(_END_SECONDS)
        if left:
            _log.warning(
                "These did not end within the grace period of %g s and were stopped: %s", seconds, ", ".join(left)
            )
        return left

    def _load(self) -> None:
        self._loader.load(self._repository.models())
        if self._repository.served() and (missing := self._repository.missing()):
            _log.warning(
                "Not serving: %s. The server as a whole is %s (--ready %s)",
                ", ".join(missing),
                "ready anyway" if self._repository.is_ready() else "not ready",
                self._settings.ready,
            )
        self._announce()
        self._checks.give_way()
        if self._desired is not None:
            self._desired.follow(self.live)
        self.live.run()

    def _tick(self) -> None:
        """Update health checks and access, and free the threads of models that have been unloaded."""
        self._announce()
        self._transport.look_at_tokens()
        self._schedulers.keep({model for served in self._repository.served() for model in served.models})

    def _watch_runs(self) -> None:
        """Check whether the server is stuck (twice, because it may have been paused), and drop idle sequences."""
        found = ""
        while not self._is_stopping.wait(_WATCH_SECONDS):
            self._service.sequences.drop_idle()
            before, found = found, longest_run(self._settings.max_run)
            stuck = found if before else ""
            if (failure := self._transport.failure) is not None:
                stuck = f"the thread that receives requests has stopped: {failure!r}"
            was, self.stuck, self._service.is_stuck = self.stuck, stuck, bool(stuck)
            if stuck and not was:
                _log.error("%s: the server is neither ready nor live until this ends", stuck)
            elif was and not stuck:
                _log.info("Recovered: %s", was)
            if bool(stuck) != bool(was):
                self._announce()

    def _announce(self) -> None:
        """Report readiness to health checks. The lock ensures that the last report is current."""
        with self._announcing:
            self._transport.health.set_serving(self._repository.is_ready() and not self._service.is_stuck)
            if self._repository.generation != self._fitted:
                self._fitted = self._repository.generation
                self._transport.note_new_models()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
