"""Asks grpc.health.v1, or whether a server lives, with nothing imported but grpc."""

import grpc

from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import from_rpc_error
from rnnserve.client.tls_diagnosis import explain_connection_failure

__all__ = ["ask_over_grpc"]

_CHECK = "/grpc.health.v1.Health/Check"
_LIVE = "/inference.GRPCInferenceService/ServerLive"
_MOST_BYTES = 1 << 16

_SERVING = 1
_STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""By the number of a HealthCheckResponse's status."""


def ask_over_grpc(endpoint: Endpoint, model: str, timeout: float, *, is_live_enough: bool) -> str:
    """Say why a server, or a model of it, is not ready; nothing where it is.

    The two messages have one field each, so they are written and read here: protobuf takes 50 ms to import, half as
    long as all else.

    Args:
        endpoint: The server.
        model: Name of the model; empty for the server as a whole.
        timeout: Seconds that it may take, the connection included.
        is_live_enough: Whether it is enough that the process answers, ready or not.

    Raises:
        InvalidRequest: If a file for TLS cannot be read.
    """
    method, request = (_LIVE, b"") if is_live_enough else (_CHECK, _text_field(model))
    with endpoint.open_channel(channel_options(_MOST_BYTES)) as channel:
        try:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            answer = ask(request, timeout=timeout, metadata=endpoint.headers)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return f"the server has no model {model!r}"
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"no answer within {timeout:g} s"
            said = explain_connection_failure(endpoint, from_rpc_error(error))
            return f"{error.code().name}: {'; '.join([str(said), *getattr(said, '__notes__', ())])}"
    value = answer[1] if len(answer) == 2 and answer[0] == 1 << 3 else 0  # the field is 1, and of one byte
    if value == _SERVING:
        return ""
    if is_live_enough:
        return "the server says that it is not live"
    return (
        f"it is {_STATES[value] if value < len(_STATES) else value}: models are loading, none serves, or it is stopping"
    )


def _text_field(text: str) -> bytes:
    """Field 1 of a message as text: tag, size as a varint, bytes; nothing where it is empty."""
    data = text.encode()
    size, head = len(data), bytearray([1 << 3 | 2])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*head, size]) + data if data else b""
