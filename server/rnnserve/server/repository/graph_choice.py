"""Which graph of a version serves.

`native` is model.onnx, with ONNX's own recurrent operators; `scan` is model.scan.onnx, with loops in the place of RNN
operators. They differ in speed, and in the last bits of their results. So one of them is chosen when a version is
tried, for good: the bits of an answer depend neither on traffic nor on the worker that gives it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from rnnserve.protos.artifact import MODEL, SCAN

__all__ = ["AUTO", "FILES", "LEAST_GAIN", "NATIVE", "SCANNED", "GraphChoice", "choose_graph"]

AUTO, NATIVE, SCANNED = "auto", "native", "scan"
"""What may be asked for, as `Settings.graph`."""

FILES = {NATIVE: MODEL, SCANNED: SCAN}
"""The file of each graph."""

LEAST_GAIN = 1.1
"""How many times as fast as native scan has to be, so that it is chosen. Chance moves a ratio of measured costs by some
hundredths, and what chance chooses would differ from one start to the next."""


@dataclasses.dataclass(frozen=True)
class GraphChoice:
    """The graph that serves.

    Attributes:
        name: `NATIVE` or `SCANNED`.
        reason: Why it was chosen.
        microseconds: By graph and by size, "32x64" for 32 rows of 64 steps: what a run costs. Empty where there was
            nothing to compare.
    """

    name: str
    reason: str
    microseconds: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of the file that serves."""
        return FILES[self.name]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` has given."""
        return cls(**fields)

    def __str__(self) -> str:
        costs = (
            f"{graph} {', '.join(f'{size} {cost:g}' for size, cost in by_size.items())}"
            for graph, by_size in self.microseconds.items()
        )
        measured = f"; microseconds by rows x steps: {'; '.join(costs)}" if self.microseconds else ""
        return f"graph {self.name}, {self.reason}{measured}"


def choose_graph(
    asked: str, decided: str | None, why_not_scan: str, microseconds: Mapping[str, Mapping[str, float]]
) -> GraphChoice:
    """Choose the graph of a version.

    Args:
        asked: `AUTO`, `NATIVE` or `SCANNED`.
        decided: What was chosen for this version before, which it stays with; None where nothing was.
        why_not_scan: Why scan cannot be chosen; empty where it can.
        microseconds: What runs cost, by graph and size, where scan can be chosen and `AUTO` is asked for.
    """
    if asked == NATIVE:
        return GraphChoice(NATIVE, "since --graph native asks for it")
    if why_not_scan:
        return GraphChoice(NATIVE, f"since {why_not_scan}")
    if asked == SCANNED:
        return GraphChoice(SCANNED, "since --graph scan asks for it")
    gain = _gain(microseconds)
    measured = f"scan is {gain:.2f} times as fast as native, and serves from {LEAST_GAIN} on"
    if decided is not None:
        return GraphChoice(decided, f"as it was chosen for this version before; here {measured}", microseconds)
    return GraphChoice(SCANNED if gain >= LEAST_GAIN else NATIVE, f"since {measured}", microseconds)


def _gain(microseconds: Mapping[str, Mapping[str, float]]) -> float:
    """How many times as fast as native scan is: the geometric mean over all sizes, so that each counts the same."""
    ratios = [native / microseconds[SCANNED][size] for size, native in microseconds[NATIVE].items()]
    return math.prod(ratios) ** (1 / len(ratios))
