"""Calls that bring a wrong token, by the address that they come from: after some, further ones are told to wait.

A token has 256 random bits, and no number of attempts finds one: this is for what a client costs that goes on with a
token that was revoked, say, and for the client, which is told that it is no use. A call with a valid token is never
refused by this, whatever its address has sent before: behind a NAT or a proxy many clients have one.
"""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from rnnserve.server.clock import now

__all__ = ["FailedAttempts"]

_FIRST_SECONDS, _LONGEST_SECONDS = 1.0, 60.0
"""Seconds of the first wait, of which each further one takes twice as many, up to the longest."""

_FORGOTTEN_SECONDS = 600.0
"""Seconds without a wrong token after which an address begins anew."""

_MOST_ADDRESSES = 4096
"""Addresses that are kept, of 200 bytes each: those that came last."""

_LONGEST_NAME = 64
"""Characters of an address that are kept; none of an IP has more."""

_OF_HTTP, _OF_IPV6 = "http:", "ipv6:"
_NETWORK_PARTS = 4


class _Attempts(NamedTuple):
    """What is kept of an address.

    Attributes:
        wrong: How many wrong tokens there were, beside those that came during a wait.
        until: When the wait ends, in seconds on the clock of `clock`.
        last: When the last one came.
    """

    wrong: int
    until: float
    last: float


class FailedAttempts:
    """Counts wrong tokens by address. Any thread may use it."""

    def __init__(self, most: int, clock: Callable[[], float] = now) -> None:
        """Begin without any.

        Args:
            most: Wrong tokens of one address that are refused as such, before it is told to wait.
            clock: Clock, in seconds.
        """
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Attempts] = OrderedDict()

    def note(self, peer: str) -> float:
        """Count a wrong token; return for how many seconds further ones are told to wait, 0 for none.

        Args:
            peer: Name of the connection, as gRPC has it, or the private socket (`connections.private_socket`).
        """
        address, at = _address(peer), self._clock()
        with self._lock:
            wrong, until, last = self._kept.pop(address, _Attempts(0, 0.0, at))
            if at - last > _FORGOTTEN_SECONDS:
                wrong = 0
            if at >= until:
                wrong += 1
                beyond = wrong - self._most
                wait = min(_FIRST_SECONDS * 2.0 ** min(beyond - 1, 32), _LONGEST_SECONDS) if beyond > 0 else 0.0
                until = at + wait
            self._kept[address] = _Attempts(wrong, until, at)
            if len(self._kept) > _MOST_ADDRESSES:
                self._kept.popitem(last=False)
        return until - at


def _address(peer: str) -> str:
    """Give a connection's address without its port; of IPv6 the network, of which a host has all addresses."""
    host = peer.removeprefix(_OF_HTTP).rpartition(":")[0] or peer
    if host.startswith(_OF_IPV6):
        bare = host.removeprefix(_OF_IPV6).replace("%5B", "").replace("%5D", "").strip("[]").partition("%25")[0]
        try:
            full = ipaddress.IPv6Address(bare)
        except ValueError:
            return host[:_LONGEST_NAME]
        if full.ipv4_mapped is not None:
            return f"ipv4:{full.ipv4_mapped}"
        return ":".join(full.exploded.split(":")[:_NETWORK_PARTS])
    return host[:_LONGEST_NAME]
