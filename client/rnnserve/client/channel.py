"""Options of channels, for both clients and the load test."""

__all__ = ["ChannelOptions", "channel_options"]

ChannelOptions = list[tuple[str, int | str]]


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
        # No service config is read from DNS: `balancing.py` has ours.
        ("grpc.service_config_disable_resolution", 1),
    ]
