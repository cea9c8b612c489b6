"""Where the server is and how the line to it is kept: addresses and channel options, for both clients."""

import re

from rnnserve.client.errors import InvalidRequest

__all__ = ["ChannelOptions", "channel_options", "target"]

ChannelOptions = list[tuple[str, int]]

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@?#]+):(?P<port>[0-9]{1,5})")
_EVERY_INTERFACE = {"0.0.0.0", "[::]"}  # noqa: S104 - refused below


def target(url: str) -> str:
    """Return the `host:port` that a URL names.

    Args:
        url: `"127.0.0.1:8001"`, `"grpc://127.0.0.1:8001"`, `"[::1]:8001"`.

    Raises:
        InvalidRequest: the URL names no host and port, or a scheme other than grpc, or the address on which servers
            listen but nobody can be reached.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "grpc":
        raise InvalidRequest(
            f"url {url!r}: the scheme {scheme!r} is not spoken here. Expected host:port or grpc://host:port, without "
            "TLS; servers offer gRPC on port 8001 by custom, and HTTP on 8000"
        )
    address = rest if separator else url
    parts = _HOST_PORT.fullmatch(address)
    if parts is None:
        raise InvalidRequest(
            f"url {url!r} names no host and port. Expected host:port or grpc://host:port, such as 127.0.0.1:8001 or "
            "[::1]:8001, with nothing behind the port"
        )
    host, port = parts["host"], int(parts["port"])
    if not 1 <= port <= 65535:
        raise InvalidRequest(f"url {url!r}: port {port} is outside 1..65535; servers offer gRPC on 8001 by custom")
    if host in _EVERY_INTERFACE:
        raise InvalidRequest(
            f"url {url!r}: {host} is where a server listens (on every interface), not where it can be reached: "
            f"on the same machine that is 127.0.0.1:{port}"
        )
    return address


def channel_options(max_message_bytes: int) -> ChannelOptions:
    """Return the options of a channel that lives as long as its process.

    Args:
        max_message_bytes: the largest answer taken, in place of gRPC's 4 MiB.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        # The server says what it takes; a limit here would only guess at it.
        ("grpc.max_send_message_length", -1),
        # A peer that vanished without a word (a machine lost, a NAT entry expired) is noticed after 20 s instead of
        # when TCP gives up, a quarter of an hour later: keepalive sets TCP_USER_TIMEOUT too. gRPC servers allow a
        # ping in 5 minutes and hang up on clients that send more.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A restarted server is found again within seconds; by default the pauses between attempts grow to 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        # Retries are the caller's to decide: no policy is taken from DNS. What is left is gRPC's transparent retry of
        # requests that never reached the server's application.
        ("grpc.service_config_disable_resolution", 1),
    ]
