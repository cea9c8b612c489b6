"""`rnnserve health`: check whether a server or a model of it is ready, for containers and probes.

It runs every few seconds on the server's machine, so it must be cheap. It imports grpc but not protobuf, whose import
takes 50 ms, half as long as everything else. Instead, this module encodes and decodes the messages, which have one
field each.
"""

import argparse

from rnnserve.client.commands.argument_types import parse_seconds
from rnnserve.client.commands.connection_options import add_tls_options, add_token_options, connection_arguments

__all__ = ["MISTAKES", "add_arguments", "run"]

_CHECK = "/grpc.health.v1.Health/Check"
_LIVE = "/inference.GRPCInferenceService/ServerLive"
_MOST_BYTES = 1 << 16

_SERVING = 1
_STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""Status names, by the number in a HealthCheckResponse."""


class NotReady(Exception):
    """The server or the model is not ready, or the server cannot be reached."""


MISTAKES = (NotReady,)

_EXAMPLES = """\
examples:
  rnnserve health
  rnnserve health 10.0.0.1:8001 --model direction_simple
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
        help="gRPC address of the server, or grpcs://HOST:PORT for TLS (default %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--model", default="", metavar="NAME", help="check whether this model is ready, instead of the whole server"
    )
    what.add_argument("--live", action="store_true", help="check only whether the server responds, ready or not")
    parser.add_argument(
        "--timeout",
        type=parse_seconds,
        default=5.0,
        metavar="SECONDS",
        help="seconds to wait for the response (default %(default)g)",
    )
    add_tls_options(parser)
    add_token_options(parser)


def run(args: argparse.Namespace) -> int:
    """Check the server, and print the result in one line."""
    if args.address.startswith(("http://", "https://")):
        raise NotReady(
            f"{args.address} is an HTTP address, but this command uses gRPC (HOST:PORT). Over HTTP, run: curl --fail "
            f"{args.address.rstrip('/')}/v2/health/ready"
        )
    reason = _reason(args)
    what = "live" if args.live else "ready"
    who = f"{args.model} at {args.address}" if args.model else args.address
    if reason:
        raise NotReady(f"not {what}: {who}: {reason}")
    print(f"{what}: {who}")
    return 0


def _reason(args: argparse.Namespace) -> str:
    """Return why a server or its model is not ready, or an empty text if it is ready."""
    import grpc

    from rnnserve.client.channel import channel_options
    from rnnserve.client.endpoint import parse_endpoint
    from rnnserve.client.errors import ClientError, from_rpc_error
    from rnnserve.client.tls_diagnosis import explain_connection_failure

    method, request = (_LIVE, b"") if args.live else (_CHECK, _text_field(args.model))
    try:
        endpoint = parse_endpoint(args.address, **connection_arguments(args))
        with endpoint.open_channel(channel_options(_MOST_BYTES)) as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            answer = ask(request, timeout=args.timeout, metadata=endpoint.headers)
    except ClientError as error:
        raise NotReady(str(error)) from error
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return f"the server has no model {args.model!r}"
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no response within {args.timeout:g} s"
        explained = explain_connection_failure(endpoint, from_rpc_error(error))
        return f"{error.code().name}: {'; '.join([str(explained), *getattr(explained, '__notes__', ())])}"
    value = answer[1] if len(answer) == 2 and answer[0] == 1 << 3 else 0  # the field has number 1 and one byte
    if value == _SERVING:
        return ""
    if args.live:
        return "the server reports that it is not live"
    state = _STATES[value] if value < len(_STATES) else value
    return f"it is {state}; it is loading models, has no model to serve, or is shutting down"


def _text_field(text: str) -> bytes:
    """Encode field 1 of a message as text: tag, size as a varint, bytes. Returns nothing for an empty text."""
    data = text.encode()
    size, head = len(data), bytearray([1 << 3 | 2])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*head, size]) + data if data else b""
