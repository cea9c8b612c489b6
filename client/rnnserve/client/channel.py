"""Options of channels, and gRPC's service config: how calls are spread over servers, and which are sent again.

gRPC's core does both: it connects to every address, asks each server for its health, takes the healthy ones in turn,
and sends a lost call again, to the next server. See gRPC's proposals A6 (retries), A17 (health) and A24 (service
config).
"""

import json
from typing import Literal, get_args

__all__ = ["BALANCINGS", "Balancing", "ChannelOptions", "channel_options", "service_config"]

ChannelOptions = list[tuple[str, int | str]]

Balancing = Literal["round_robin", "pick_first"]
"""gRPC's name of a policy: every server in turn; or one at a time, the next one after a loss."""

BALANCINGS: tuple[Balancing, ...] = get_args(Balancing)

_SERVICE = "inference.GRPCInferenceService"
_REPEATED = ("ModelInfer", "ModelMetadata")
"""Methods whose calls may be sent twice: their answers don't depend on anything that a server keeps."""

_LOST = ("UNAVAILABLE", "CANCELLED")
"""Statuses of a call whose server is gone, does not serve, or stops: a server that stops at once cancels its calls."""

_ATTEMPTS = 4
_MOST_TOKENS, _TOKENS_BACK = 100, 0.1
"""The retry budget: a failed attempt costs one token, an answer gives a tenth back, and gRPC retries only while more
than
half of the tokens are left. So few calls are sent four times when all servers are lost."""


def channel_options(max_message_bytes: int) -> ChannelOptions:
    """Return the options of a channel for a long-lived process; `max_message_bytes` bounds an answer."""
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
        # No service config is read from DNS: `service_config` makes ours.
        ("grpc.service_config_disable_resolution", 1),
    ]


def service_config(balancing: Balancing, *, repeats: bool, shuffles: bool = False) -> str:
    """Return gRPC's service config as JSON.

    `repeats` has lost calls sent again within their deadline. `shuffles` has `pick_first` try the addresses in a random
    order. Servers that report NOT_SERVING get no calls, except with `pick_first`.
    """
    policy: dict[str, object] = {"shuffleAddressList": True} if shuffles else {}
    config: dict[str, object] = {"loadBalancingConfig": [{balancing: policy}]}
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
