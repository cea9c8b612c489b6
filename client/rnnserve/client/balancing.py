"""How calls are spread over several servers, and which are sent again: gRPC's service config.

gRPC itself does both, in C: it connects to every address, asks each for its health, goes round those that are healthy,
and sends a call again that was lost, to the next one. Sources: gRPC's proposals A6 (retries), A17
(health) and A24 (service config).
"""

import json
from typing import Literal, get_args

__all__ = ["BALANCINGS", "Balancing", "service_config"]

Balancing = Literal["round_robin", "pick_first"]
"""gRPC's name of the way: every server in turn; or one at a time, the next one after a loss."""

BALANCINGS: tuple[Balancing, ...] = get_args(Balancing)

_SERVICE = "inference.GRPCInferenceService"
_REPEATED = ("ModelInfer", "ModelMetadata")
"""Methods whose calls may be sent twice: what they ask depends on nothing that a server keeps."""

_LOST = ("UNAVAILABLE", "CANCELLED")
"""Statuses of a call whose server is gone, does not serve, or stops: one that stops at once cancels what it has."""

_ATTEMPTS = 4
_MOST_TOKENS, _TOKENS_BACK = 100, 0.1
"""The budget: a failed attempt takes one token, an answer gives a tenth back, and below half nothing is sent again. So
where all servers are lost, few calls are sent four times."""


def service_config(balancing: Balancing, *, repeats: bool, shuffles: bool = False) -> str:
    """Write gRPC's service config.

    Args:
        balancing: Way in which calls are spread. Servers that say NOT_SERVING get none, but by `pick_first`.
        repeats: Whether calls that were lost are sent again, within their deadline.
        shuffles: Whether `pick_first` goes through the addresses in an order of its own, and not in the given one.
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
