"""What is full first, when the load grows."""

import math
from dataclasses import dataclass

from benchmarks.simulation.fleet import FleetResult

__all__ = ["Bottleneck", "first_bottleneck"]

_UNEVEN, _CHANCE = 1.15, 4.0
"""How many times the mean of the requests the busiest server gets, from which on it is named, and not the servers as a
whole; and standard deviations that it may have more by chance, in a short time."""


@dataclass(frozen=True)
class Bottleneck:
    """What is full first.

    Attributes:
        name: Its name.
        used: Part of it that is needed; above 1 where it is too little.
        full_at: Requests per second at which it is full, if all grows alike.
    """

    name: str
    used: float
    full_at: float


def first_bottleneck(found: FleetResult, rate: float, proxies: int = 0, proxy_rate: float = 0.0) -> Bottleneck:
    """Name what is full first.

    Args:
        found: A simulated load.
        rate: Requests per second of it.
        proxies: Number of proxies that all requests go through; 0 for none.
        proxy_rate: Requests per second that one of them carries, as measured.
    """
    mean, taken = float(found.used.mean()), float(found.taken.mean())
    unevenness = float(found.taken.max()) / taken
    used = {"servers": mean}
    if unevenness > _UNEVEN + _CHANCE / math.sqrt(taken):
        used = {"busiest server": mean * unevenness}
    if proxies:
        used["proxies"] = rate / (proxies * proxy_rate)
    name = max(used, key=used.__getitem__)
    return Bottleneck(name, used[name], rate / used[name] if used[name] else float("inf"))
