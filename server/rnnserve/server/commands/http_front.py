"""The HTTP front beside the server: processes of `rnnserve web`, started, watched and replaced.

They accept connections on one socket, which this process holds: while one is replaced, connections wait for it and are
not refused. They reach the server, or each worker, over a socket in a folder that only this user can open; on it, and
nowhere else, the server believes what a call's metadata say of the client's address. What they do, or that they end,
changes nothing for gRPC.
"""

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnserve.common.extras import missing_package
from rnnserve.common.front_counts import FrontCounts
from rnnserve.common.kept_identity import used_kept_identity
from rnnserve.server.commands.ending import before_end_at_once
from rnnserve.server.errors import StartError
from rnnserve.server.settings import HTTP_PORT, CommandSettings, Settings
from rnnserve.server.workers.worker_process import Backoff

__all__ = ["HTTP_PACKAGES", "HttpFront", "http_front", "page_address"]

_log = logging.getLogger(__name__)

HTTP_PACKAGES = ("uvicorn", "starlette", "httptools", "orjson", "uvloop")
"""Names of what HTTP needs, as they are imported."""

_BACKLOG = 4096
_END_SECONDS = 7.0
"""Seconds that a front may take to end: five for the requests in hand."""

_GROWN_UP_SECONDS = 10.0
"""Seconds after which the end of a front is not the fault of its start, which takes one or two on a busy machine."""

_LONGEST_PATH = 90
"""Characters of the folder's path: with a socket's name, a path of 107 is the longest that the kernel takes."""

_LEAST_BODY_BYTES = 32 << 20


class HttpFront:
    """The processes of the front.

    Attributes:
        port: Where they listen.
        folder: Where the server is to have its sockets.
    """

    def __init__(
        self,
        listener: socket.socket,
        folder: Path,
        command: Sequence[str],
        count: int,
        counts: Sequence[FrontCounts] = (),
    ) -> None:
        """Prepare; `start` starts them.

        Args:
            listener: Socket on which they listen.
            folder: Folder for the server's sockets.
            command: Command line of each; descriptors are added to it.
            count: Number of processes.
            counts: Memory for what each of them counts itself; one that replaces another goes on with it.
        """
        self.port: int = listener.getsockname()[1]
        self.folder = folder
        self._listener = listener
        self._command = command
        self._is_told_to_stop = threading.Event()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [
            threading.Thread(target=self._keep, args=(index,), name=f"http front {index}", daemon=True)
            for index in range(count)
        ]
        self._counts = counts or [FrontCounts() for _ in range(count)]

    def start(self) -> None:
        """Start the processes, and keep as many running."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the processes: those that do not end by themselves are killed."""
        self._is_told_to_stop.set()
        for process in list(self._running.values()):
            process.send_signal(signal.SIGTERM)
        for thread in self._threads:
            thread.join(_END_SECONDS)
        for process in list(self._running.values()):
            process.kill()

    def discard(self) -> None:
        """Leave nothing behind where this process ends at once: the kernel ends the processes."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self, index: int) -> None:
        """Run one process after another. This thread starts each, and lives as long: the kernel ends them with it."""
        backoff = Backoff(grown_up=_GROWN_UP_SECONDS)
        wait = 0.0
        while not self._is_told_to_stop.wait(wait):
            started = time.monotonic()
            try:
                ended = f"a process for HTTP has ended {self._run(index)}"
            except OSError as error:
                ended = f"no process for HTTP can be started: {error.strerror or error}"
            lived = time.monotonic() - started
            wait = backoff.seconds_after(lived)
            if not self._is_told_to_stop.is_set():
                _log.error(
                    "%s, after %.1f s: another is started in %.2f s; connections wait for it, and gRPC goes on",
                    ended,
                    lived,
                    wait,
                )

    def _run(self, index: int) -> str:
        """Run one process to its end; return how it has ended."""
        ours, its = os.pipe()
        listen, counts = self._listener.fileno(), self._counts[index].descriptor
        tls = used_kept_identity().descriptor
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command line
                [
                    *self._command,
                    f"--listen-fd={listen}",
                    f"--lifeline-fd={ours}",
                    f"--counts-fd={counts}",
                    f"--tls-fd={tls}",
                ],
                pass_fds=(listen, ours, counts, tls),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
            self._running[index] = process
            if self._is_told_to_stop.is_set():
                process.send_signal(signal.SIGTERM)
            status = process.wait()
            del self._running[index]
            return f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        finally:
            os.close(ours)
            os.close(its)


@contextlib.contextmanager
def http_front(command: CommandSettings, settings: Settings, counts: Sequence[FrontCounts] = ()) -> Iterator[Settings]:
    """Have HTTP served beside gRPC inside the block, where that is wanted and can be.

    Args:
        command: Options of the command.
        settings: Settings of the server.
        counts: Memory for what each process of the front counts itself.

    Yields:
        The settings, with what the server has to know of the front.

    Raises:
        StartError: If a port for HTTP is asked for, and cannot be had, or the extra `web` is missing.
    """
    listener = _listener(command, settings)
    if listener is None:
        yield settings
        return
    with listener, _private_folder() as folder:
        front = HttpFront(listener, folder, _command_line(command, settings, folder), command.http_workers, counts)
        before_end_at_once(front.discard)
        front.start()
        try:
            yield settings.beside_http(front.port, folder)
        finally:
            front.stop()


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
    """Give the address of the page, of a server with a front."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.tls_certificate is None else 'https'}://{host}:{settings.http_port}/"


def _command_line(options: CommandSettings, settings: Settings, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "rnnserve.cli", "web", f"--upstream=unix:{folder}", f"--host={settings.host}"]
    command += [f"--log-level={options.log_level}", f"--log-format={options.log_format}"]
    command += [f"--log-requests={settings.log_requests}", *(["--traces"] if settings.traces else [])]
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
