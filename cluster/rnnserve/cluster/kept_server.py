"""A server on one node: started again when it ends, asked what it does, and let end."""

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rnnserve.cluster.endpoint_file import write_endpoints
from rnnserve.cluster.server_process import ServerProcess, end_left_servers
from rnnserve.cluster.servers import ServerReport, ServerSpec, ServerState
from rnnserve.common.child_process import Backoff

__all__ = ["KeptServer"]

_log = logging.getLogger(__name__)

_START_SECONDS = 600.0
"""Seconds that a server may take until it serves. What bounds it is --load-timeout, for each version."""

_END_SECONDS = 120.0
"""Seconds that a server may take to end: --drain and --grace are in it."""


class KeptServer:
    """Keeps one server running on this node, from now on."""

    def __init__(self, fleet: str, host: str, spec: ServerSpec, endpoints: str = "") -> None:
        """Begin.

        Args:
            fleet: Name of the servers that this one belongs to.
            host: Address of this node.
            spec: Repository, options and port of the server.
            endpoints: File that lists the servers which serve; empty for none.
        """
        self._address = f"[{host}]:{spec.port}" if ":" in host else f"{host}:{spec.port}"
        self._mark = f"{fleet} {self._address}"
        self._host = host
        self._spec = spec
        self._endpoints = endpoints
        self._listed: tuple[str, ...] = ()
        self._not_written = ""
        self._starts = 0
        self._said = ""
        self._process: ServerProcess | None = None
        self._lock = threading.Lock()
        self._is_ending = threading.Event()
        self._keeping = threading.Thread(target=self._keep, name="kept server", daemon=True)
        self._keeping.start()

    def report(self) -> ServerReport:
        """Say what it does."""
        with self._lock:
            process = self._process
        state: ServerState = "ended" if self._starts else "starting"
        if process is not None:
            state = "ready" if process.is_ready and not self._is_ending.is_set() else "starting"
        said = self._not_written if state == "ready" else self._said
        return ServerReport(self._address, state, self._spec, said, self._starts, self._listed)

    def prove(self, spec: ServerSpec) -> str:
        """Start another server beside this one, which ends once it serves; give why it does not, empty if it does."""
        try:
            process = ServerProcess(spec.command_of_proof(self._host), f"{self._mark} proof")
        except OSError as error:
            return str(error)
        is_ready = process.wait_ready(_START_SECONDS)
        process.stop(_END_SECONDS)
        process.wait()
        return "" if is_ready else process.last_line or "it has ended without a word"

    def publish(self, endpoints: Sequence[str]) -> None:
        """Write the file of endpoints."""
        if self._endpoints:
            try:
                write_endpoints(Path(self._endpoints), endpoints)
            except OSError as error:
                self._not_written = f"{self._endpoints} cannot be written: {error.strerror or error}"
                return
        self._listed, self._not_written = tuple(endpoints), ""

    def stop(self) -> None:
        """Let the server end as SIGTERM does, and keep none from then on."""
        self._is_ending.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.stop(_END_SECONDS)
        self._keeping.join(_END_SECONDS)

    def _keep(self) -> None:
        left = end_left_servers(self._mark)
        if left:
            _log.warning("%d processes of a server that was left here have been ended", left)
        backoff = Backoff(first=0.5, longest=30.0, grown_up=10.0)
        while not self._is_ending.is_set():
            began = time.monotonic()
            self._run()
            self._is_ending.wait(backoff.seconds_after(time.monotonic() - began))

    def _run(self) -> None:
        """Run the server once."""
        try:
            process = ServerProcess(self._spec.command(self._host), self._mark)
        except OSError as error:
            self._said = str(error)
            return
        with self._lock:
            self._process = process
            self._starts += 1
        if self._is_ending.is_set():  # since this began
            process.stop(_END_SECONDS)
        status = process.wait()
        with self._lock:
            self._process = None
        self._said = process.last_line or f"it has ended with exit status {status}"
