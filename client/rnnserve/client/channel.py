"""Channel options and gRPC's service config, which spreads calls over servers and retries lost calls.

gRPC's core does both: it connects to every address, checks each server's health, uses the healthy servers in turn, and
sends a lost call again, to the next server. See gRPC's proposals A6 (retries), A17 (health) and A24 (service config).
"""

import json
from typing import Literal, get_args

__all__ = ["BALANCINGS", "Balancing", "ChannelOptions", "channel_options", "service_config"]

ChannelOptions = list[tuple[str, int | str]]

Balancing = Literal["round_robin", "pick_first"]
"""gRPC's names for its policies: use every server in turn, or one server until it is lost and then the next one."""

BALANCINGS: tuple[Balancing, ...] = get_args(Balancing)

_SERVICE = "inference.GRPCInferenceService"
_REPEATED = ("ModelInfer", "ModelMetadata")
"""Methods whose calls may be sent twice, because their responses don't depend on state in the server."""

_LOST = ("UNAVAILABLE", "CANCELLED")
"""Statuses of a call if its server is lost, not serving, or shutting down (which cancels the calls in progress)."""

_ATTEMPTS = 4
_MOST_TOKENS, _TOKENS_BACK = 100, 0.1
"""The retry budget. A failed attempt costs one token, and a response returns a tenth of one. gRPC retries only while
more than half of the tokens are left, so only few calls are sent four times when all servers are lost."""


def channel_options(max_message_bytes: int) -> ChannelOptions:
    """Return the channel options for a long-lived process. `max_message_bytes` limits the size of a response."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        # The server enforces its own limit. A limit here could only be a guess.
        ("grpc.max_send_message_length", -1),
        # Detect a peer that disappears without closing the connection (a lost machine, an expired NAT entry) after
        # 20 s instead of after TCP's timeout of about 15 minutes: keepalive also sets TCP_USER_TIMEOUT. gRPC servers
        # allow one ping per 5 minutes and close the connections of clients that send more.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Reconnect to a restarted server within seconds. By default, the delays grow to 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        # Don't read a service config from DNS: `service_config` makes ours.
        ("grpc.service_config_disable_resolution", 1),
    ]


def service_config(balancing: Balancing, *, repeats: bool) -> str:
    """Return gRPC's service config as JSON.

    With `repeats`, gRPC sends lost calls again within their deadline. Servers that report NOT_SERVING get no calls,
    except with `pick_first`.
    """
    config: dict[str, object] = {"loadBalancingConfig": [{balancing: {}}]}
    if balancing != "pick_first":
        config["healthCheckConfig"] = {"serviceName": ""}
    if repeats:
        config["methodConfig"] = [
            {
                "name": [{"service": _SERVICE, "method": method} for method in _REPEATED],
                "retryPolicy": {
                    "maxAttempts": _ATTEMPTS,
                    "initialBackoff": "0.02s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": list(_LOST),
                },
            }
        ]
        config["retryThrottling"] = {"maxTokens": _MOST_TOKENS, "tokenRatio": _TOKENS_BACK}
    return json.dumps(config)
