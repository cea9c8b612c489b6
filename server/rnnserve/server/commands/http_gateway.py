"""The HTTP gateway: starts, watches and replaces processes of `rnnserve web`.

They accept connections on one socket, which this process holds. While a process is replaced, connections wait and
aren't refused. The gateway reaches the server, or each worker, over a socket in a folder that only this user can open.
Only on this socket does the server trust the client address in a call's metadata. A failing gateway doesn't affect
gRPC.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import logging
import math
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.common.child_process import LIFELINE, ChildProcess, KeptProcess
from rnnserve.common.extras import missing_package
from rnnserve.common.gateway_counts import GatewayCounts
from rnnserve.server.errors import StartError
from rnnserve.server.settings import HTTP_PORT, CommandSettings, Settings
from rnnserve.server.system import listen_on

__all__ = ["HttpGateway", "http_gateway", "missing_http_package"]

_log = logging.getLogger(__name__)

_END_SECONDS = 2.0
"""Seconds a gateway process may take to end, in addition to the grace period for its requests."""

_LONGEST_ROOT = 70
"""Most characters of the parent folder's path. The kernel allows 107 for the path of a socket in it."""

_LEAST_BODY_BYTES = 32 << 20


class HttpGateway:
    """The processes of the HTTP gateway. A replacement process continues the `counts`."""

    def __init__(
        self, listener: socket.socket, folder: Path, command: Sequence[str], processes: int, grace: float
    ) -> None:
        """Prepare processes with this command line. At the end, requests in flight may take `grace` seconds."""
        self.port: int = listener.getsockname()[1]  # the port they listen on
        self.folder = folder  # the folder for the server's sockets
        self.counts = [GatewayCounts() for _ in range(processes)]
        self._listener = listener
        self._command = command
        self._grace, self._deadline = grace, 0.0
        self._processes = [
            KeptProcess(f"http gateway {index}", functools.partial(self._started, each), _report)
            for index, each in enumerate(self.counts)
        ]

    def start(self) -> None:
        """Start the processes, and replace every process that ends."""
        for process in self._processes:
            process.start()

    def end(self) -> None:
        """Accept no more connections, and let the processes finish their requests. `wait` waits for that."""
        if self._deadline:
            return
        for process in self._processes:
            process.end()
        self._listener.close()
        self._deadline = time.monotonic() + self._grace + _END_SECONDS

    def wait(self, seconds: float = math.inf) -> bool:
        """Wait for the processes after `end`, and kill them after the deadline. Return whether all have ended."""
        until = min(time.monotonic() + seconds, self._deadline)
        has_ended = all(process.wait(max(until - time.monotonic(), 0.0)) for process in self._processes)
        if not has_ended and time.monotonic() >= self._deadline:
            for process in self._processes:
                process.kill()
            has_ended = True
        return has_ended

    def _started(self, counts: GatewayCounts) -> ChildProcess:
        listen, written = self._listener.fileno(), counts.descriptor
        command = [*self._command, LIFELINE, f"--listen-fd={listen}", f"--counts-fd={written}"]
        return ChildProcess(command, pass_fds=(listen, written))


def _report(ended: str, wait: float) -> None:
    _log.error(
        "a process of the HTTP gateway %s; starting another in %.2f s. HTTP connections wait until then; gRPC is not "
        "affected",
        ended,
        wait,
    )


@contextlib.contextmanager
def http_gateway(command: CommandSettings, settings: Settings) -> Iterator[tuple[Settings, HttpGateway | None]]:
    """Serve HTTP inside the block, if enabled and possible. Raise StartError if a required gateway can't start."""
    listener = _listener(command, settings)
    if listener is None:
        yield settings, None
        return
    # A short path, in a folder that only this user can open.
    root = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="rnnserve-", dir=root if len(root) <= _LONGEST_ROOT else "/tmp"))  # noqa: S108 - with mode 0700
    try:
        words = _command_line(command, settings, folder)
        gateway = HttpGateway(listener, folder, words, command.workers, settings.grace)
        gateway.start()
        beside = dataclasses.replace(settings, http_port=gateway.port, private_sockets=folder)
        try:
            yield beside, gateway
        finally:
            gateway.end()
            gateway.wait()
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def missing_http_package() -> str:
    """Return the first package that HTTP needs but isn't installed, or an empty string."""
    names = ("uvicorn", "httptools", "orjson", "uvloop", "websockets")
    return next((name for name in names if importlib.util.find_spec(name) is None), "")


def _listener(command: CommandSettings, settings: Settings) -> socket.socket | None:
    """Return the socket to listen on, or None without HTTP."""
    is_asked = command.http_port is not None
    if command.no_http:
        if is_asked:
            raise StartError("--http-port and --no-http exclude each other; leave one of them out")
        return None
    if missing := missing_http_package():
        if is_asked:
            raise StartError(f"--http-port {missing_package(missing, 'web')}")
        _log.info("not serving HTTP, because that %s", missing_package(missing, "web"))
        return None
    try:
        return listen_on(settings.host, HTTP_PORT if command.http_port is None else command.http_port, "HTTP")
    except StartError as error:
        if is_asked:
            raise
        _log.warning("not serving HTTP: %s; choose another port with --http-port", error)
        return None


def _command_line(options: CommandSettings, settings: Settings, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "rnnserve.cli", "web", f"--upstream=unix:{folder}", f"--host={settings.host}"]
    command += [f"--log-level={options.log_level}", f"--log-format={options.log_format}"]
    command.append(f"--log-requests={settings.log_requests}")
    command.append(f"--grace={settings.grace}")
    command.append(f"--max-body-bytes={max(_LEAST_BODY_BYTES, 2 * settings.max_message_bytes)}")
    command += [f"--allow-host={name}" for name in options.http_allow_host]
    if settings.access_file is not None:
        command.append("--asks-for-tokens")
    if settings.client_roles is not None:
        command.append("--tells-certificates")
    for name in ("tls_certificate", "tls_key", "tls_client_ca"):
        value = getattr(settings, name)
        if value is not None:
            command.append(f"--{name.replace('_', '-')}={value}")
    return command
