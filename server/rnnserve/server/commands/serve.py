"""`rnnserve serve`: serve a repository over gRPC."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import rnnserve.server.polling  # noqa: F401 - before anything imports grpc
from rnnserve.server.app import Server, Settings
from rnnserve.server.boundary import Limits
from rnnserve.server.errors import StartError
from rnnserve.server.ports import reserve_port
from rnnserve.server.providers import CHOICES
from rnnserve.server.supervisor import Supervisor, count_of
from rnnserve.server.transport import TRANSPORTS

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (StartError,)

_DEFAULTS = Settings(Path("repository"))

_PASSED_ON = (
    "host", "provider", "transport", "max-queue", "max-message-bytes", "max-batch", "max-sequence", "grace", "log-level"
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    limits = _DEFAULTS.limits
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument(
        "repository", type=Path, metavar="REPOSITORY", help="folder with the models, as `rnnserve export` fills it"
    )
    parser.add_argument("--host", default=_DEFAULTS.host, help="name or address to listen on")
    parser.add_argument(
        "--grpc-port", type=_port, default=_DEFAULTS.grpc_port, help="port for gRPC; 0 takes a free one"
    )
    parser.add_argument(
        "--provider",
        choices=CHOICES,
        default=_DEFAULTS.provider,
        help="where models run; auto is CUDA where there is one",
    )
    parser.add_argument(
        "--transport",
        choices=TRANSPORTS,
        default=_DEFAULTS.transport,
        help="how inference requests are taken; auto is the lane, the fast way, where grpcio allows it",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help="processes that share the port; auto is one a core. One that dies is replaced",
    )
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="serve over TLS: certificate chain in PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="serve over TLS: private key in PEM")
    parser.add_argument(
        "--max-queue",
        type=_count,
        default=_DEFAULTS.max_queue,
        help="requests that may wait for each model; more are refused at once",
    )
    parser.add_argument("--max-message-bytes", type=_count, default=limits.max_message_bytes, help="largest request")
    parser.add_argument("--max-batch", type=_count, default=limits.max_batch, help="most sequences in one request")
    parser.add_argument("--max-sequence", type=_count, default=limits.max_sequence, help="longest sequence")
    parser.add_argument("--allow-non-finite", action="store_true", help="let NaN and infinity through to the models")
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long requests under way may take to end after SIGTERM",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much to log on standard error",
    )

    # What a worker is told by its supervisor.
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lifeline-fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    process = "" if args.ready_fd is None else f" [{os.getpid()}]"
    logging.basicConfig(
        level=args.log_level.upper(), format=f"%(asctime)s %(levelname)s{process} %(name)s: %(message)s"
    )
    if args.workers > 1:
        _supervise(args)
    else:
        _serve(args)
    return 0


def _serve(args: argparse.Namespace) -> None:
    """Be the server, or one worker of it."""
    told_to_stop = threading.Event()
    _on_signals(told_to_stop.set)
    if args.lifeline_fd is not None:
        threading.Thread(target=_follow, args=(args.lifeline_fd, told_to_stop), daemon=True).start()
    limits = Limits(args.max_message_bytes, args.max_batch, args.max_sequence, args.allow_non_finite)
    server = Server(
        Settings(
            args.repository,
            args.host,
            args.grpc_port,
            args.provider,
            args.transport,
            share_port=args.ready_fd is not None,
            tls=_tls(args),
            max_queue=args.max_queue,
            limits=limits,
        )
    )
    try:
        server.start()
        if args.ready_fd is None:
            _say_ready(args.host, server.port)
        else:
            os.write(args.ready_fd, b"1")
        told_to_stop.wait()
    finally:
        server.stop(args.grace)


def _supervise(args: argparse.Namespace) -> None:
    """Keep workers, each of which runs this command with what only a worker is told."""
    with reserve_port(args.host, args.grpc_port) as port:
        command = [sys.executable, "-m", "rnnserve.cli", "serve", str(args.repository), "--grpc-port", str(port)]
        for name in _PASSED_ON:
            command += [f"--{name}", str(getattr(args, name.replace("-", "_")))]
        if args.allow_non_finite:
            command.append("--allow-non-finite")
        if tls := _tls(args):
            command += ["--tls-certificate", str(tls[0]), "--tls-key", str(tls[1])]
        supervisor = Supervisor(command, args.workers)
        _on_signals(supervisor.stop)
        supervisor.run(lambda: _say_ready(args.host, port), grace=args.grace)


def _tls(args: argparse.Namespace) -> tuple[Path, Path] | None:
    if (args.tls_certificate is None) != (args.tls_key is None):
        raise StartError("TLS needs both --tls-certificate and --tls-key")
    return None if args.tls_key is None else (args.tls_certificate, args.tls_key)


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _follow(lifeline: int, told_to_stop: threading.Event) -> None:
    """Stop when the supervisor's end of the pipe closes: it has gone, however it went."""
    os.read(lifeline, 1)
    told_to_stop.set()


def _say_ready(host: str, port: int) -> None:
    print(f"gRPC on {host}:{port}", flush=True)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return port


def _workers(text: str) -> int:
    try:
        return count_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
