"""`rnnserve web`: the HTTP front before a server. `rnnserve serve` starts it, too, with sockets of its own."""

import argparse
import functools
import gc
import logging
import math
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
import uvloop

from rnnserve.client.endpoint import parse_endpoint
from rnnserve.client.errors import ClientError
from rnnserve.common.allocation import give_back_large_blocks, use_few_arenas
from rnnserve.common.child_process import die_with_parent
from rnnserve.common.gateway_counts import GatewayCounts, use_gateway_counts
from rnnserve.common.log_format import LOG_FORMATS, log_formatter
from rnnserve.common.log_limits import LogLimits
from rnnserve.common.request_lines import LOG_REQUESTS, REQUESTS_LOGGER
from rnnserve.common.telemetry import Traces, TracesUnavailable, start_traces
from rnnserve.common.tls_identity import IdentityError, TlsFiles
from rnnserve.common.unblocked_output import unblock_output
from rnnserve.web.app.access import FrontAccess
from rnnserve.web.app.application import Application, FrontLimits
from rnnserve.web.app.front_server import FrontServer
from rnnserve.web.app.http_spans import HttpSpans
from rnnserve.web.app.request_log import RequestLog
from rnnserve.web.app.site import site_routes
from rnnserve.web.commands.exposure import exposure
from rnnserve.web.commands.memory_limit import end_beyond, least_memory_bytes
from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.direct_protocol import DirectProtocol, DirectWay
from rnnserve.web.http1.limits import HttpLimits
from rnnserve.web.http1.served_tls import ServedContext
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.listed_servers import ListedServers
from rnnserve.web.upstream.private_sockets import PrivateSockets
from rnnserve.web.upstream.upstream import Upstream

__all__ = ["MISTAKES", "add_arguments", "run"]


class FrontStartError(Exception):
    """The front cannot start as asked."""


MISTAKES = (FrontStartError, ClientError)

_BACKLOG = 4096
_COLLECT_OBJECTS = 10_000
"""New objects, for which Python looks for garbage among them."""

_MOST_UNSENT = 128 << 10
"""Bytes of answers to a connection that the kernel takes before it can send them. By default it takes 2.8 MB for a
client that does not read, which no limit on a process counts: 500 clients had ten answers of 121 kB each made at once.
"""

_GRACE_SECONDS = 5.0
"""Seconds that requests in flight may take at the end, unless the server says otherwise."""

_DESCRIPTORS_BESIDE = 64
"""Descriptors that a process needs beside its connections."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but of what has none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = _Formatter
    parser.add_argument(
        "--upstream",
        required=True,
        metavar="HOST:PORT",
        help="gRPC address of the server; of several, HOST:PORT,HOST:PORT: "
        "requests go to each in turn, those of a sequence to one; or unix:PATH, of a socket or a folder of sockets",
    )
    parser.add_argument("--host", default="127.0.0.1", help="name or address to listen on")
    parser.add_argument("--http-port", type=int, default=8000, metavar="PORT", help="port for HTTP; 0 takes a free one")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="how long the server may take")
    parser.add_argument(
        "--max-body-bytes", type=int, default=32 << 20, metavar="BYTES", help="largest body, also decompressed"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that a proxy on this machine passes on in the header Host; may be given several times",
    )
    parser.add_argument(
        "--max-memory-bytes",
        type=int,
        metavar="BYTES",
        help="memory beyond which the process ends, as a last resort; where not given, 256 MiB and eight of the "
        "largest bodies",
    )
    parser.add_argument("--max-connections", type=int, default=4096, metavar="N", help="connections that may be open")
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="serve over TLS: certificate chain in PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="serve over TLS: private key in PEM")
    parser.add_argument(
        "--tls-client-ca", type=Path, metavar="FILE", help="admit only clients with a certificate of these authorities"
    )
    upstream = parser.add_argument_group("TLS to the server", "for --upstream grpcs://HOST:PORT")
    upstream.add_argument("--upstream-tls-ca", metavar="FILE", help="certificates of the authorities to trust, in PEM")
    upstream.add_argument("--upstream-tls-certificate", metavar="FILE", help="the front's certificate chain, in PEM")
    upstream.add_argument("--upstream-tls-key", metavar="FILE", help="its private key, in PEM")
    upstream.add_argument(
        "--token-file",
        metavar="FILE",
        default=os.environ.get("RNNSERVE_TOKEN_FILE") or None,
        help="file with a token for the server, which goes with the requests of clients that bring none: whoever "
        "reaches this front may do what it may (default: that of RNNSERVE_TOKEN_FILE)",
    )
    upstream.add_argument(
        "--insecure", action="store_true", help="send it without TLS to another machine, where the way to it is safe"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="how much to log"
    )
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, default=LOG_FORMATS[0], help="lines of text, or a JSON object a line"
    )
    parser.add_argument(
        "--log-requests", choices=LOG_REQUESTS, default=LOG_REQUESTS[0], help="which requests have a line in the log"
    )
    parser.add_argument(
        "--traces",
        action="store_true",
        help="export traces (OpenTelemetry, OTLP/HTTP) as the variables OTEL_… say; needs the extra `otel`",
    )
    parser.add_argument(
        "--share-sequences",
        action="store_true",
        help="ids of sequences are common to all clients, as in Triton; otherwise each connection has ids of its own",
    )
    # What `rnnserve serve` tells the fronts that it starts.
    for name in ("--listen-fd", "--lifeline-fd", "--counts-fd"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--grace", type=float, default=_GRACE_SECONDS, help=argparse.SUPPRESS)
    for name in ("--asks-for-tokens", "--tells-certificates"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    tls = _served_tls(args)
    upstream = _upstream(args)
    with _listening(args) as listener:
        _prepare_process(args)
        if args.listen_fd is None:
            _tell_of_start(args, listener.getsockname()[1])
        traces = _traces(args)
        _keep_from_garbage_collection()
        try:
            uvloop.run(_serve(args, upstream, listener, traces, tls))
        finally:
            if traces is not None:
                traces.close()
    return 0


def _tell_of_start(args: argparse.Namespace, port: int) -> None:
    """Say where a front of its own listens, and what it lacks for others than this machine."""
    warning = exposure(
        args.host,
        has_tls=args.tls_certificate is not None,
        asks_for_certificates=args.tls_client_ca is not None,
        sends_token=args.token_file is not None,
    )
    if warning:
        logging.getLogger(__name__).warning("%s", warning)
    print(f"HTTP on {args.host}:{port}", flush=True)


def _prepare_process(args: argparse.Namespace) -> None:
    """Do what is for a process of its own only, when nothing is left that its user could have told wrong."""
    if args.lifeline_fd is not None:
        die_with_parent(args.lifeline_fd)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the server, which ends this process
    if args.counts_fd is not None:
        use_gateway_counts(GatewayCounts(args.counts_fd))
    unblock_output()
    logging.basicConfig(level=args.log_level.upper())
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimits())
        handler.setFormatter(log_formatter(args.log_format, has_process=True))
    if args.log_requests == "none":
        logging.getLogger(REQUESTS_LOGGER).disabled = True
    give_back_large_blocks()
    use_few_arenas()
    end_beyond(least_memory_bytes(args.max_body_bytes) if args.max_memory_bytes is None else args.max_memory_bytes)
    # uvicorn raises again the signal that has ended it.
    for number in (signal.SIGTERM, signal.SIGINT) if args.lifeline_fd is None else (signal.SIGTERM,):
        signal.signal(number, lambda *_: None)


def _keep_from_garbage_collection() -> None:
    """Let Python look no more for garbage among what there is, and more rarely among what comes.

    Lists in JSON are thousands of new objects, and to look through them for garbage takes longer than to read them.
    What connections leave in cycles is looked for where memory has grown (`memory_limit`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_OBJECTS, 20, 20)


def _traces(args: argparse.Namespace) -> Traces | None:
    """Begin to export traces, where they are asked for.

    Raises:
        FrontStartError: If they cannot be exported.
    """
    try:
        return start_traces() if args.traces else None
    except TracesUnavailable as error:
        raise FrontStartError(str(error)) from error


def _served_tls(args: argparse.Namespace) -> ServedContext | None:
    """Read the files for TLS, where it is asked for.

    Raises:
        FrontStartError: If they cannot be used, or one is missing.
    """
    if (args.tls_certificate is None) != (args.tls_key is None):
        raise FrontStartError("TLS needs both --tls-certificate and --tls-key")
    if args.tls_certificate is None:
        if args.tls_client_ca is not None:
            raise FrontStartError("--tls-client-ca needs TLS: --tls-certificate and --tls-key")
        return None
    try:
        return ServedContext(TlsFiles(args.tls_certificate, args.tls_key, args.tls_client_ca))
    except IdentityError as error:
        raise FrontStartError(f"the files for TLS cannot be used: {error}") from error


def _upstream(args: argparse.Namespace) -> Callable[[], Upstream]:
    """What connects to the server, once a loop runs."""
    kind, _, path = args.upstream.partition(":")
    if kind == "unix":
        return lambda: PrivateSockets(Path(path)) if Path(path).is_dir() else GrpcUpstream.at_socket(path)
    endpoint = parse_endpoint(
        args.upstream,
        tls_ca=args.upstream_tls_ca,
        tls_certificate=args.upstream_tls_certificate,
        tls_key=args.upstream_tls_key,
        token_file=args.token_file,
        insecure=args.insecure,
    )
    return lambda: ListedServers(endpoint, share_sequences=args.share_sequences)


def _listening(args: argparse.Namespace) -> socket.socket:
    """The socket to listen on: the one that was handed down, or a new one. Its connections have its options."""
    listener = _new_listener(args) if args.listen_fd is None else socket.socket(fileno=args.listen_fd)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
    return listener


def _new_listener(args: argparse.Namespace) -> socket.socket:
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((args.host, args.http_port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise FrontStartError(f"cannot listen on {args.host}:{args.http_port}: {error}") from error
    return listener


async def _serve(
    args: argparse.Namespace,
    connect: Callable[[], Upstream],
    listener: socket.socket,
    traces: Traces | None,
    tls: ServedContext | None,
) -> None:
    limits = HttpLimits(max_connections=_connections(args.max_connections))
    upstream = connect()
    hosts = frozenset(name.lower() for name in args.allow_host)
    bounds = FrontLimits(args.max_body_bytes, max(args.max_body_bytes, 64 << 20), args.timeout, hosts)
    application = Application(
        upstream,
        site_routes(_metrics_socket(args.upstream)),
        bounds,
        requests=RequestLog(args.log_requests, has_server_log=upstream.trusts_peer),
        spans=None if traces is None else HttpSpans(traces),
        access=FrontAccess() if args.asks_for_tokens or args.listen_fd is None else None,
    )
    table = ConnectionTable(limits)
    connection = functools.partial(
        DirectProtocol,
        table=table,
        way=DirectWay(application.direct),
        tells_certificates=args.tells_certificates,
    )
    config = uvicorn.Config(
        application,
        http=connection,  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.keep_alive_seconds),
        timeout_graceful_shutdown=math.ceil(args.grace),
        backlog=_BACKLOG,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    if tls is not None:
        tls.watch().start()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        await FrontServer(config, application, table).serve(sockets=[listener])
    finally:
        await upstream.close()


def _metrics_socket(upstream: str) -> Path | None:
    """The server's socket for scrapes, in the folder of its sockets."""
    scheme, _, path = upstream.partition(":")
    return Path(path, "metrics") if scheme == "unix" and Path(path).is_dir() else None


def _connections(most: int) -> int:
    """As many as are asked for, and as the process may have; its soft limit of descriptors is raised for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < most + _DESCRIPTORS_BESIDE:
        wanted = most + _DESCRIPTORS_BESIDE
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(most, soft - _DESCRIPTORS_BESIDE))
