"""A family of metrics, and how those of the usual kinds are made.

A sample's text has `LABELS` where those of a row stand, and the form of its number, as `%` takes it: `%d`, or `%r` for
seconds, all digits of which are told.
"""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeAlias

__all__ = ["LABELS", "Family", "Numbers", "histogram", "info", "of_process", "one"]

LABELS = "LABELS"

Numbers: TypeAlias = Sequence[float]
"""Those of a row (`places`), or of what else a family is of."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of metrics.

    Attributes:
        name: Its name.
        kind: counter, gauge, histogram or summary.
        about: What it counts.
        samples: What follows the name in each sample, and the form of its number.
        numbers: A function from a row's numbers to those of the samples, in their order.
        labels: Names of the labels that a row brings beside those of its version, where it tells by them.
    """

    name: str
    kind: str
    about: str
    samples: tuple[str, ...]
    numbers: Callable[[Numbers], Sequence[float]]
    labels: tuple[str, ...] = ()

    def head(self) -> str:
        """The lines before its samples."""
        return f"# HELP {self.name} {self.about}\n# TYPE {self.name} {self.kind}\n"

    def lines(self, labels: str = "") -> str:
        """Its samples, for a row with these labels, with the forms of their numbers."""
        escaped = labels.replace("%", "%%")
        return "".join([f"{self.name}{sample}\n" for sample in self.samples]).replace(LABELS, escaped)


def one(name: str, kind: str, about: str, *summed: int, factor: float = 1.0, form: str = "%d") -> Family:
    """A family of one sample a version, the sum of some of its numbers."""
    return Family(
        name,
        kind,
        about,
        (f"{{{LABELS}}} {form}",),
        lambda counts: (factor * sum([counts[place] for place in summed]),),
    )


def histogram(name: str, about: str, first: int, bounds: Sequence[float], *sums: int, form: str = "%r") -> Family:
    """A family of buckets, cumulative, with the sum of some of its numbers."""
    edges = [*[repr(bound) if bound % 1 else str(int(bound)) for bound in bounds], "+Inf"]
    buckets = [f'_bucket{{{LABELS},le="{edge}"}} %d' for edge in edges]

    def numbers(counts: Numbers) -> list[float]:
        cumulative = list(accumulate(counts[first : first + len(edges)]))
        return [*cumulative, sum([counts[place] for place in sums]), cumulative[-1]]

    return Family(name, "histogram", about, (*buckets, f"_sum{{{LABELS}}} {form}", f"_count{{{LABELS}}} %d"), numbers)


def of_process(name: str, kind: str, about: str, samples: Sequence[tuple[str, int]], form: str = "%d") -> Family:
    """A family of the process: of each sample what follows the name, and its place."""
    chosen = tuple(place for _, place in samples)
    return Family(
        name,
        kind,
        about,
        tuple(f"{labels} {form}" for labels, _ in samples),
        lambda counts: [counts[place] for place in chosen],
    )


def info(name: str, about: str, *labels: str) -> Family:
    """A family that tells by its labels, and has no number."""
    return Family(name, "gauge", about, (f"{{{LABELS}}} 1",), lambda _: (), labels)
