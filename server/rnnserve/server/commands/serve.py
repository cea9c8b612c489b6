"""`rnnserve serve`: serve a repository over gRPC."""

import argparse
import logging
import signal
import threading
from pathlib import Path

from rnnserve.server.app import Server, Settings
from rnnserve.server.boundary import Limits
from rnnserve.server.errors import StartError
from rnnserve.server.providers import CHOICES
from rnnserve.server.transport import TRANSPORTS

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (StartError,)

_DEFAULTS = Settings(Path("repository"))


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


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    limits = Limits(args.max_message_bytes, args.max_batch, args.max_sequence, args.allow_non_finite)
    settings = Settings(
        args.repository, args.host, args.grpc_port, args.provider, args.transport, args.max_queue, limits
    )
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    server = Server(settings)
    try:
        server.start()
        print(f"gRPC on {args.host}:{server.port}", flush=True)
        told_to_stop.wait()
    finally:
        server.stop(args.grace)
    return 0


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return port


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
