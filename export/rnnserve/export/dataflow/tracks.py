"""How the values of a tensor depend on one axis of the inputs: a row's neighbours, later steps, or padding."""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import StrEnum

__all__ = [
    "BY_NUMBER",
    "COMPUTES",
    "COUNTS",
    "CUTS",
    "FREE",
    "LAST",
    "NUMBERS",
    "SAME",
    "Key",
    "Place",
    "Property",
    "Reach",
    "Reason",
    "Track",
    "join",
    "mixed",
    "not_decided",
]


class Property(StrEnum):
    """What is decided of a graph, for all values of its inputs."""

    ROWS = "rows"
    """A row of a result depends on no other row, nor on how many there are, nor on its place among them."""
    PADDING = "padding"
    """What a row's result has before its length depends on no step after it, nor on how many there are."""
    CAUSALITY = "causality"
    """A step of a result depends on no later step, nor on how many there are."""


Key = tuple[Property, str]
"""A property, and the dynamic axis in question."""

Place = tuple[int, int]
"""An axis of a tensor, and the factor of it, where reshaping has joined several into one.

Negative axes are none of the tensor's: `LAST` is the step after which a value is as it is; others are those that a loop
runs over.
"""

LAST: Place = (-1, 0)


@dataclasses.dataclass(frozen=True)
class Reach:
    """Which indices of the input's axis a value at index i of a place depends on.

    Attributes:
        exact: Whether on one index only; otherwise on all up to it.
        offset: That index is i + offset.
        by: The node by which the offset grew last.
    """

    exact: bool = True
    offset: int = 0
    by: str = dataclasses.field(default="", compare=False)

    def then(self, other: "Reach") -> "Reach":
        """Give the reach of what reads, as far as `other` says, values that reach as far as this says."""
        by = other.by if other.offset > 0 else self.by
        return Reach(self.exact and other.exact, self.offset + other.offset, by)

    def union(self, other: "Reach") -> "Reach":
        """Give a reach that covers both."""
        further = max(self, other, key=lambda reach: reach.offset)
        return Reach(self.exact and self == other, further.offset, further.by)


SAME = Reach()

NUMBERS = "numbers them"
"""What is said of a node that gives each index its number; it is computed with, or read by, further on."""
COMPUTES = "numbers them, and their results are computed of that"
BY_NUMBER = "numbers them, and they are read by that"
CUTS = "takes some by their number"
COUNTS = "reads the number of"  # rows, or steps


@dataclasses.dataclass(frozen=True)
class Reason:
    """A node, and what it does.

    Attributes:
        node: The operator, and the node's name or first result.
        sentence: What a mixing node does; of one that is not decided, what it does with other indices, though what it
            reads of them may count for nothing. Empty for a node that no rule covers.
    """

    node: str
    sentence: str = ""

    @property
    def is_of_numbers(self) -> bool:
        """Whether it is said of numbers, which count for whatever is computed of them."""
        return self.sentence in (NUMBERS, COMPUTES)


@dataclasses.dataclass(frozen=True)
class Track:
    """How values depend on one axis of the inputs. With no places and no reasons, they do not.

    Attributes:
        places: Where the values lie along that axis, and how far each value reaches.
        mixing: Operators that read over the axis, by which the values depend on more than their own index.
        undecided: Operators of which that is not known.
    """

    places: Mapping[Place, Reach] = dataclasses.field(default_factory=dict)
    mixing: tuple[Reason, ...] = ()
    undecided: tuple[Reason, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether the values do not depend on the axis at all."""
        return not (self.places or self.mixing or self.undecided)

    @property
    def is_lost(self) -> bool:
        """Whether the values depend, or may depend, on more than their own index."""
        return bool(self.mixing or self.undecided)


FREE = Track()


def mixed(node: str, sentence: str) -> Track:
    """Give the track of values that surely depend on other indices."""
    return Track(mixing=(Reason(node, sentence),))


def not_decided(node: str, sentence: str = "") -> Track:
    """Give the track of values of which nothing is known, or only what a node does with other indices."""
    return Track(undecided=(Reason(node, sentence),))


def join(tracks: Iterable[Track]) -> Track:
    """Give the track of values that are computed from several, index by index."""
    bound = [track for track in tracks if not track.is_free]
    if len(bound) < 2:
        return bound[0] if bound else FREE
    places: dict[Place, Reach] = {}
    mixing: dict[Reason, None] = {}
    undecided: dict[Reason, None] = {}
    for track in bound:
        for place, reach in track.places.items():
            places[place] = places[place].union(reach) if place in places else reach
        mixing |= dict.fromkeys(track.mixing)
        undecided |= dict.fromkeys(track.undecided)
    return Track(places, tuple(mixing), tuple(undecided))
