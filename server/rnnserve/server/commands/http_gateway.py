"""The HTTP gateway beside the server: processes of `rnnserve web`, started, watched and replaced.

They accept connections on one socket, which this process holds: while one is replaced, connections wait for it and are
not refused. They reach the server, or each worker, over a socket in a folder that only this user can open; on it, and
nowhere else, the server believes what a call's metadata say of the client's address. What they do, or that they end,
changes nothing for gRPC.
"""

import contextlib
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
from rnnserve.common.front_counts import FrontCounts
from rnnserve.server.commands.ending import before_end_at_once
from rnnserve.server.errors import StartError
from rnnserve.server.settings import HTTP_PORT, CommandSettings, Settings

__all__ = ["HTTP_PACKAGES", "HttpGateway", "http_gateway", "page_address"]

_log = logging.getLogger(__name__)

HTTP_PACKAGES = ("uvicorn", "starlette", "httptools", "orjson", "uvloop")
"""Names of what HTTP needs, as they are imported."""

_BACKLOG = 4096
_END_SECONDS = 2.0
"""Seconds, beyond the grace for its requests, that a process of the gateway may take to end."""

_LONGEST_PATH = 90
"""Characters of the folder's path: with a socket's name, a path of 107 is the longest that the kernel takes."""

_LEAST_BODY_BYTES = 32 << 20


class HttpGateway:
    """The processes of the HTTP gateway.

    Attributes:
        port: Where they listen.
        folder: Where the server is to have its sockets.
    """

    def __init__(
        self, listener: socket.socket, folder: Path, command: Sequence[str], counts: Sequence[FrontCounts], grace: float
    ) -> None:
        """Prepare; `start` starts them.

        Args:
            listener: Socket on which they listen.
            folder: Folder for the server's sockets.
            command: Command line of each; descriptors are added to it.
            counts: Memory for what each of them counts itself; one that replaces another goes on with it.
            grace: Seconds that requests in flight may take at the end.
        """
        self.port: int = listener.getsockname()[1]
        self.folder = folder
        self._listener = listener
        self._command = command
        self._grace, self._deadline = grace, 0.0
        self._processes = [
            KeptProcess(f"http gateway {index}", functools.partial(self._started, each), _report)
            for index, each in enumerate(counts)
        ]

    def start(self) -> None:
        """Start the processes, and keep as many running."""
        for process in self._processes:
            process.start()

    def end(self) -> None:
        """Accept no more connections, and have the processes finish what they have; `wait` waits for that."""
        if self._deadline:
            return
        for process in self._processes:
            process.end()
        self._listener.close()
        self._deadline = time.monotonic() + self._grace + _END_SECONDS

    def wait(self, seconds: float = math.inf) -> bool:
        """Wait, after `end`, until the processes have ended; kill those that have had their time.

        Returns:
            Whether none is left.
        """
        until = min(time.monotonic() + seconds, self._deadline)
        has_ended = all(process.wait(max(until - time.monotonic(), 0.0)) for process in self._processes)
        if not has_ended and time.monotonic() >= self._deadline:
            for process in self._processes:
                process.kill()
            has_ended = True
        return has_ended

    def discard(self) -> None:
        """Leave nothing behind where this process ends at once: the kernel ends the processes."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _started(self, counts: FrontCounts) -> ChildProcess:
        listen, written = self._listener.fileno(), counts.descriptor
        command = [*self._command, LIFELINE, f"--listen-fd={listen}", f"--counts-fd={written}"]
        return ChildProcess(command, pass_fds=(listen, written))


def _report(ended: str, wait: float) -> None:
    _log.error(
        "a process of the HTTP gateway %s: another is started in %.2f s; connections wait for it, and gRPC goes on",
        ended,
        wait,
    )


@contextlib.contextmanager
def http_gateway(
    command: CommandSettings, settings: Settings, counts: Sequence[FrontCounts] = ()
) -> Iterator[tuple[Settings, HttpGateway | None]]:
    """Have HTTP served beside gRPC inside the block, where that is wanted and can be.

    Args:
        command: Options of the command.
        settings: Settings of the server.
        counts: Memory for what each process of the gateway counts itself.

    Yields:
        The settings, with what the server has to know of the gateway, and the gateway.

    Raises:
        StartError: If a port for HTTP is asked for, and cannot be had, or the extra `web` is missing.
    """
    listener = _listener(command, settings)
    if listener is None:
        yield settings, None
        return
    with listener, _private_folder() as folder:
        gateway = HttpGateway(listener, folder, _command_line(command, settings, folder), counts, settings.grace)
        before_end_at_once(gateway.discard)
        gateway.start()
        try:
            yield settings.beside_http(gateway.port, folder), gateway
        finally:
            gateway.end()
            gateway.wait()


def _listener(command: CommandSettings, settings: Settings) -> socket.socket | None:
    """A socket to listen on; None where there is to be no HTTP."""
    is_asked = command.http_port is not None
    if command.no_http:
        if is_asked:
            raise StartError("--http-port and --no-http exclude each other")
        return None
    missing = [name for name in HTTP_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        if is_asked:
            raise StartError(f"--http-port {missing_package(missing[0], 'web')}")
        _log.info("no HTTP: that %s", missing_package(missing[0], "web"))
        return None
    port = command.http_port if is_asked else HTTP_PORT
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        said = f"cannot listen on {settings.host}:{port} for HTTP: {error.strerror or error}"
        if is_asked:
            raise StartError(said) from error
        _log.warning("no HTTP: %s; choose another port with --http-port", said)
        return None
    return listener


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only this user can open, with a short path."""
    root = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="rnnserve-", dir=root if len(root) <= _LONGEST_PATH - 20 else "/tmp"))  # noqa: S108 - made for us alone, with mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def page_address(settings: Settings) -> str:
    """Give the address of the page, of a server with an HTTP gateway."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.tls_certificate is None else 'https'}://{host}:{settings.http_port}/"


def _command_line(options: CommandSettings, settings: Settings, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "rnnserve.cli", "web", f"--upstream=unix:{folder}", f"--host={settings.host}"]
    command += [f"--log-level={options.log_level}", f"--log-format={options.log_format}"]
    command += [f"--log-requests={settings.log_requests}", *(["--traces"] if settings.traces else [])]
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
