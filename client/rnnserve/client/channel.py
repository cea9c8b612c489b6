"""Server addresses and channel options, for both clients."""

import re

from rnnserve.client.errors import InvalidRequest

__all__ = ["ChannelOptions", "channel_options", "parse_address"]

ChannelOptions = list[tuple[str, int]]

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@?#]+):(?P<port>[0-9]{1,5})")
_EVERY_INTERFACE = {"0.0.0.0", "[::]"}  # noqa: S104 - refused below


def parse_address(url: str) -> str:
    """Return the `host:port` of a URL.

    Args:
        url: `"127.0.0.1:8001"`, `"grpc://127.0.0.1:8001"`, `"[::1]:8001"`.

    Raises:
        InvalidRequest: The URL has no host and port, has a scheme other than grpc, or is a wildcard address, on which
            a server can listen but cannot be reached.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "grpc":
        raise InvalidRequest(
            f"url {url!r}: the scheme {scheme!r} is not supported. Expected host:port or grpc://host:port, without "
            "TLS; the usual ports are 8001 for gRPC and 8000 for HTTP"
        )
    address = rest if separator else url
    parts = _HOST_PORT.fullmatch(address)
    if parts is None:
        raise InvalidRequest(
            f"url {url!r} has no host and port. Expected host:port or grpc://host:port, such as 127.0.0.1:8001 or "
            "[::1]:8001, with nothing after the port"
        )
    host, port = parts["host"], int(parts["port"])
    if not 1 <= port <= 65535:
        raise InvalidRequest(f"url {url!r}: port {port} is outside 1..65535; the usual port for gRPC is 8001")
    if host in _EVERY_INTERFACE:
        raise InvalidRequest(
            f"url {url!r}: on {host} a server listens (on every interface), but a client cannot reach it there. On the "
            f"same machine, use 127.0.0.1:{port}"
        )
    return address


def channel_options(max_message_bytes: int) -> ChannelOptions:
    """Return the options of a channel for a long-lived process.

    Args:
        max_message_bytes: Largest answer accepted; gRPC's default is 4 MiB.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        # The server enforces its own limit; a limit here could only guess it.
        ("grpc.max_send_message_length", -1),
        # A peer that disappears without closing the connection (a lost machine, an expired NAT entry) is detected after
        # 20 s instead of after TCP's timeout of about 15 minutes: keepalive sets TCP_USER_TIMEOUT too. gRPC servers
        # allow one ping per 5 minutes and close the connections of clients that send more.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # The client reconnects to a restarted server within seconds; by default the delays grow to 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        # The caller decides about retries: no retry policy is read from DNS. gRPC's transparent retry of requests that
        # never reached the server's application remains.
        ("grpc.service_config_disable_resolution", 1),
    ]
