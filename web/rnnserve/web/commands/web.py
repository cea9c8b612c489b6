"""`rnnserve web`: run the HTTP gateway in front of a server. `rnnserve serve` also starts it, and passes a socket."""

import argparse
import asyncio
import contextlib
import gc
import logging
import math
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.errors import ClientError
from rnnserve.common.child_process import LIFELINE, die_with_parent
from rnnserve.common.gateway_counts import GatewayCounts
from rnnserve.common.hosts import is_loopback
from rnnserve.common.log_lines import LOG_FORMATS, LOG_REQUESTS, REQUESTS_LOGGER, LogLimits, log_formatter
from rnnserve.common.process_memory import give_back_free_memory, limit_free_memory, resident_bytes
from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, TlsWatch, read_identity
from rnnserve.common.unblocked_output import unblock_output
from rnnserve.web.app.access import GatewayAccess
from rnnserve.web.app.application import Application
from rnnserve.web.app.request_log import RequestLog
from rnnserve.web.app.routes import all_routes
from rnnserve.web.connection import Connections, Protocol, StreamProtocol
from rnnserve.web.limits import Limits
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.private_sockets import PrivateSockets
from rnnserve.web.upstream.upstream import Upstream

__all__ = ["MISTAKES", "ServedContext", "add_arguments", "run", "serve"]

_log = logging.getLogger(__name__)


class GatewayStartError(Exception):
    """The gateway can't start with these options."""


MISTAKES = (GatewayStartError, ClientError)

_BACKLOG = 4096
_MOST_UNSENT = 128 << 10
"""Bytes of responses that the kernel buffers per connection. Its default is 2.8 MB for a client that doesn't read, and
no limit on a process counts this memory."""

_GRACE_SECONDS = 5.0
_IDLE_SECONDS = 0.5
"""Seconds that idle connections stay open during shutdown, because a client may already be sending a request."""

_SWITCH_SECONDS = 0.0005
"""Seconds that the thread for large bodies may keep the GIL while the event loop waits for it. Python's default is ten
times as long."""

_LOOK_SECONDS = 0.25
_DESCRIPTORS_BESIDE = 64
_DEFAULT = " (default: %(default)s)"

_TIDY_SECONDS = 5.0
_WORTH_BYTES = 16 << 20
"""Growth, in bytes above the process's smallest size, at which it returns free memory to the system."""


class MemoryWatch:
    """Ends this process if it uses more than `most` bytes, and collects garbage when it grows.

    A supervisor then starts a new process. Without the limit, the kernel would kill some process on the machine,
    perhaps the server. Collection matters because a closed connection is part of a reference cycle that keeps its
    received data alive.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = resident_bytes() or 0
        self._tidied = time.monotonic()

    def look(self) -> None:
        """Check once. Call this a few times per second."""
        size = resident_bytes() or 0
        if size > self._most:
            _log.critical(
                "This gateway process uses %d MB of memory, more than its limit of %d MB; ending at once",
                size >> 20,
                self._most >> 20,
            )
            os._exit(1)  # an orderly shutdown could fail for lack of memory
        self._least = min(self._least, size)
        if size - self._least >= _WORTH_BYTES and time.monotonic() - self._tidied >= _TIDY_SECONDS:
            gc.collect()
            give_back_free_memory()
            self._tidied = time.monotonic()


class ServedContext(ssl.SSLContext):
    """The listening context: passes each new connection to the most recent valid context.

    Two simpler designs fail. Loading new files into one context breaks it for all clients if the key belongs to another
    certificate. Switching contexts in `sni_callback` keeps the sessions of the first context, so a client whose
    authority was removed could resume an old session without showing a certificate.
    """

    def __new__(cls, *_: TlsFiles) -> "ServedContext":
        """Create the context for the event loop. It never handles a connection itself."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises IdentityError if they are unusable."""
        self._files = files
        self._identity = read_identity(files)
        self._current = self._identity.context(files)

    def watch(self) -> TlsWatch:
        """Return a watch that reloads changed files after you start it."""
        return TlsWatch(self._files, self._identity, self._use)

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - the arguments of ssl, unchanged
        """Begin TLS on a connection with the current context."""
        return self._current.wrap_bio(*args, **named)

    def _use(self, identity: TlsIdentity) -> None:
        self._current = identity.context(self._files)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    add = parser.add_argument
    add(
        "--upstream",
        required=True,
        metavar="HOST:PORT",
        help="gRPC address of the server, or unix:PATH, where PATH is a socket or a folder with sockets",
    )
    add("--host", default="127.0.0.1", help="name or address to listen on" + _DEFAULT)
    add("--http-port", type=int, default=8000, metavar="PORT", help="port for HTTP; 0 chooses a free port" + _DEFAULT)
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="time limit of the server" + _DEFAULT)
    add(
        "--max-body-bytes",
        type=int,
        default=32 << 20,
        metavar="BYTES",
        help="largest body in bytes, compressed or decompressed" + _DEFAULT,
    )
    add(
        "--allow-host",
        "--allow-origin",  # the earlier name for origins
        action="append",
        default=[],
        metavar="NAME",
        help="host name that a proxy on this machine passes on in the header Host, or origin of another site whose "
        "pages may open WebSockets, such as https://app.example (you can repeat this option)",
    )
    add("--max-connections", type=int, default=4096, metavar="N", help="limit on open connections" + _DEFAULT)
    add("--tls-certificate", type=Path, metavar="FILE", help="serve over TLS: certificate chain in PEM")
    add("--tls-key", type=Path, metavar="FILE", help="serve over TLS: private key in PEM")
    add(
        "--tls-client-ca",
        type=Path,
        metavar="FILE",
        help="accept only clients with a certificate from these authorities",
    )
    upstream = parser.add_argument_group("TLS to the server", "for --upstream grpcs://HOST:PORT")
    upstream.add_argument("--upstream-tls-ca", metavar="FILE", help="certificates of the authorities to trust, in PEM")
    upstream.add_argument("--upstream-tls-certificate", metavar="FILE", help="the gateway's certificate chain, in PEM")
    upstream.add_argument("--upstream-tls-key", metavar="FILE", help="its private key, in PEM")
    add(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="least severe messages to log" + _DEFAULT,
    )
    add("--log-format", choices=LOG_FORMATS, default="text", help="log lines as text, or as JSON objects" + _DEFAULT)
    add("--log-requests", choices=LOG_REQUESTS, default="errors", help="requests to log" + _DEFAULT)
    # Internal options that `rnnserve serve` passes to its gateways.
    for name in ("--listen-fd", "--counts-fd"):
        add(name, type=int, help=argparse.SUPPRESS)
    add("--grace", type=float, default=_GRACE_SECONDS, help=argparse.SUPPRESS)
    for name in (LIFELINE, "--asks-for-tokens", "--tells-certificates"):
        add(name, action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    tls = _served_tls(args)
    connect = _upstream(args)
    with _listening(args) as listener:
        _prepare_process(args)
        if args.listen_fd is None:
            _report_start(args, listener.getsockname()[1])
        # JSON lists contain thousands of objects. Scanning them for garbage takes longer than parsing them, so collect
        # garbage less often.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        sys.setswitchinterval(_SWITCH_SECONDS)
        uvloop.run(_run(args, connect, listener, tls))
    return 0


async def serve(
    application: Application,
    listener: socket.socket,
    limits: Limits,
    *,
    tls: ServedContext | None = None,
    grace: float = _GRACE_SECONDS,
    ends: asyncio.Event | None = None,
    memory: MemoryWatch | None = None,
) -> None:
    """Serve an application until SIGTERM, SIGINT or `ends`. Then requests in flight have `grace` seconds to finish."""
    config = uvicorn.Config(
        application,
        http=Protocol,
        ws=StreamProtocol,
        ws_max_size=min(limits.max_frame_bytes, limits.max_body_bytes),
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.keep_alive_seconds),
        timeout_graceful_shutdown=math.ceil(grace),
        backlog=_BACKLOG,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the application logs internal errors
    server, loop = uvicorn.Server(config), asyncio.get_running_loop()
    connections = Connections(server, limits)
    ends = ends or asyncio.Event()
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]  # uvicorn would raise them again
    with contextlib.suppress(RuntimeError, ValueError):  # tests don't always serve on the main thread
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, ends.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    while not ends.is_set() and not serving.done():
        application.look(loop.time())
        connections.look(loop.time())
        if memory is not None:
            memory.look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await ends.wait()
    # First stop accepting connections, and close each connection after its response. Then close the idle ones.
    application.end()
    for each in server.servers:
        each.close()
    ended_at = loop.time()
    while len(connections) and loop.time() - ended_at < (grace if len(application.streams) else _IDLE_SECONDS):
        await asyncio.sleep(0.02)
    server.should_exit = True
    await serving


async def _run(
    args: argparse.Namespace, connect: Callable[[], Upstream], listener: socket.socket, tls: ServedContext | None
) -> None:
    upstream = connect()
    limits = Limits(
        max_body_bytes=args.max_body_bytes,
        max_held_bytes=max(2 * args.max_body_bytes, Limits.max_held_bytes),
        timeout=args.timeout,
        max_connections=_connections(args.max_connections),
        allowed=frozenset(name.lower().rstrip("/") for name in args.allow_host),
    )
    application = Application(
        upstream,
        all_routes(_metrics_socket(args.upstream)),
        limits,
        requests=RequestLog(args.log_requests, GatewayCounts(args.counts_fd)),
        access=GatewayAccess() if args.asks_for_tokens or args.listen_fd is None else None,
        tells_certificates=args.tells_certificates,
    )
    if tls is not None:
        tls.watch().start()
    try:
        memory = (256 << 20) + 8 * args.max_body_bytes
        await serve(application, listener, limits, tls=tls, grace=args.grace, memory=MemoryWatch(memory))
    finally:
        await upstream.close()


def _report_start(args: argparse.Namespace, port: int) -> None:
    """Print the address of a standalone gateway, and warn if other machines can reach it without TLS."""
    if args.tls_certificate is None and not is_loopback(args.host):
        _log.warning(
            "Other machines can reach this gateway on %s without TLS; use --tls-certificate and --tls-key, or --host "
            "127.0.0.1 (docs/operate/secure.md)",
            args.host,
        )
    print(f"HTTP on {args.host}:{port}", flush=True)


def _prepare_process(args: argparse.Namespace) -> None:
    """Set up signals, logs and memory limits for the whole process, which is safe only in a separate one."""
    if args.lifeline:
        die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C and ends this process
    unblock_output()
    logging.basicConfig(level=args.log_level.upper())
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimits())
        handler.setFormatter(log_formatter(args.log_format, has_process=True))
    if args.log_requests == "none":
        logging.getLogger(REQUESTS_LOGGER).disabled = True
    limit_free_memory()


def _served_tls(args: argparse.Namespace) -> ServedContext | None:
    """Read the TLS files, or return None if TLS is off."""
    if (args.tls_certificate is None) != (args.tls_key is None):
        raise GatewayStartError("TLS needs both --tls-certificate and --tls-key")
    if args.tls_certificate is None:
        if args.tls_client_ca is not None:
            raise GatewayStartError("--tls-client-ca needs TLS: --tls-certificate and --tls-key")
        return None
    try:
        return ServedContext(TlsFiles(args.tls_certificate, args.tls_key, args.tls_client_ca))
    except IdentityError as error:
        raise GatewayStartError(f"cannot use the TLS files: {error}") from error


def _upstream(args: argparse.Namespace) -> Callable[[], Upstream]:
    """Return a function that connects to the server. Call it when the event loop is running."""
    kind, _, path = args.upstream.partition(":")
    if kind == "unix":
        return lambda: PrivateSockets(Path(path)) if Path(path).is_dir() else GrpcUpstream.at_socket(path)
    endpoint = parse_endpoint(
        args.upstream,
        tls_ca=args.upstream_tls_ca,
        tls_certificate=args.upstream_tls_certificate,
        tls_key=args.upstream_tls_key,
    )
    if endpoint.is_list:
        raise GatewayStartError(
            "--upstream accepts only one server. Run one gateway for each server, as rnnserve serve does, behind a "
            "load balancer"
        )
    return lambda: GrpcUpstream.at_port(endpoint)


def _listening(args: argparse.Namespace) -> socket.socket:
    """Return the listening socket, inherited or new. Its connections inherit its options."""
    if args.listen_fd is not None:
        listener = socket.socket(fileno=args.listen_fd)
    else:
        listener = socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((args.host, args.http_port))
            listener.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            listener.close()
            raise GatewayStartError(f"cannot listen on {args.host}:{args.http_port}: {error}") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
    return listener


def _metrics_socket(upstream: str) -> Path | None:
    """Return the server's metrics socket, or None if `upstream` isn't a folder of sockets."""
    scheme, _, path = upstream.partition(":")
    return Path(path, "metrics") if scheme == "unix" and Path(path).is_dir() else None


def _connections(most: int) -> int:
    """Raise the soft limit of file descriptors to the hard limit, and return how many connections fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return most if hard == resource.RLIM_INFINITY else max(1, min(most, hard - _DESCRIPTORS_BESIDE))
