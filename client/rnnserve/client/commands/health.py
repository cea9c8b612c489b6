"""`rnnserve health`: whether a server, or a model of it, is ready, for a container's check and for probes.

It is run every few seconds beside a server that has the machine to itself otherwise: so it imports little.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rnnserve.client.commands.connection_options import add_tls_options, add_token_options, connection_arguments

if TYPE_CHECKING:
    import ssl

__all__ = ["MISTAKES", "add_arguments", "run"]


class NotReady(Exception):
    """The server or the model is not ready, or cannot be asked."""


MISTAKES = (NotReady,)

_EXAMPLES = """\
examples:
  rnnserve health
  rnnserve health http://127.0.0.1:8000 --model direction_simple
  rnnserve health grpcs://localhost:8001 --tls-ca ca.pem --timeout 2
  HEALTHCHECK CMD rnnserve health --live       (in a Dockerfile)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        default="127.0.0.1:8001",
        help="HOST:PORT of gRPC, grpcs:// for TLS, or http://HOST:PORT, https:// (default %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--model", default="", metavar="NAME", help="ask whether this model is ready, not the whole server"
    )
    what.add_argument("--live", action="store_true", help="ask only whether the server answers, ready or not")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="seconds to wait for the answer (default %(default)g)",
    )
    add_tls_options(parser)
    add_token_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and say in one line what is so."""
    is_http = args.address.startswith(("http://", "https://"))
    why_not = (_ask_over_http if is_http else _ask_over_grpc)(args)
    what = "live" if args.live else "ready"
    who = f"{args.model} at {args.address}" if args.model else args.address
    if why_not:
        raise NotReady(f"not {what}: {who}: {why_not}")
    print(f"{what}: {who}")
    return 0


def _ask_over_http(args: argparse.Namespace) -> str:
    from rnnserve.client.http_health import ask_over_http

    files = (args.tls_ca, args.tls_certificate, args.tls_key)
    context = None
    if args.address.startswith("https://"):
        context = _tls_context(*files)
    elif any(files):
        raise NotReady(f"{args.address} is without TLS, but files for TLS are given: use https://")
    try:
        headers = _token_headers(args) if args.token_file else ()
        return ask_over_http(args.address, args.model, args.timeout, context, is_live_enough=args.live, headers=headers)
    except ValueError as error:
        raise NotReady(f"expected http://HOST:PORT: {error}") from error


def _token_headers(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    import urllib.parse

    from rnnserve.client.errors import ClientError
    from rnnserve.client.token_source import TokenSource, check_way

    parts = urllib.parse.urlsplit(args.address)
    try:
        if parts.scheme == "http" and not args.insecure:
            check_way([parts.netloc if parts.port else f"{parts.netloc}:80"])
        return TokenSource(None, Path(args.token_file)).headers()
    except ClientError as error:
        raise NotReady(str(error)) from error


def _tls_context(*files: str | None) -> "ssl.SSLContext":
    from rnnserve.client.errors import ClientError
    from rnnserve.client.tls import TlsFiles

    try:
        return TlsFiles(*[None if file is None else Path(file) for file in files]).ssl_context()
    except ClientError as error:
        raise NotReady(str(error)) from error


def _ask_over_grpc(args: argparse.Namespace) -> str:
    from rnnserve.client.endpoint import parse_endpoint
    from rnnserve.client.errors import ClientError
    from rnnserve.client.grpc_health import ask_over_grpc

    try:
        endpoint = parse_endpoint(args.address, **connection_arguments(args))
        return ask_over_grpc(endpoint, args.model, args.timeout, is_live_enough=args.live)
    except ClientError as error:
        raise NotReady(str(error)) from error


def _seconds(text: str) -> float:
    """Read seconds above 0; the module for that of other commands imports gRPC."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number
