"""A node as rules see it: its operator, its attributes, and what is known of its inputs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rnnserve.export.dataflow.tracks import NUMBERS, Key, Reason, Track, join
from rnnserve.export.dataflow.values import NotCovered, Value

__all__ = ["Node"]

_INDEXING = (  # operators that exist to read, write or count at other indices
    *("Compress", "Gather", "GatherElements", "GatherND", "NonZero", "Range", "ReverseSequence"),
    *("Scatter", "ScatterElements", "ScatterND", "Slice", "TopK", "Unique"),
)
_SCALING = ("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul")  # by the largest of all numbers


@dataclasses.dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        operator: Its type.
        title: How it is named to people.
        inputs: What is known of its inputs; None for those that are left out.
        outputs: The names of its results; empty for those that are left out.
        attributes: Python values by name.
        keys: What is decided: properties, each with an axis of the inputs.
        opset: The version of the operator set.
    """

    operator: str
    title: str
    inputs: Sequence[Value | None]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    keys: Sequence[Key]
    opset: int

    def input(self, at: int) -> Value:
        """Give what is known of an input that has to be there.

        Raises:
            NotCovered: If it is not, or if its number of axes is not known.
        """
        value = self.optional(at)
        if value is None or value.shape is None:
            raise NotCovered
        return value

    def optional(self, at: int) -> Value | None:
        """Give what is known of an input; None where it is left out."""
        return self.inputs[at] if at < len(self.inputs) else None

    @property
    def given(self) -> list[Value]:
        """The inputs that are there."""
        return [value for value in self.inputs if value is not None]

    def attribute(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - of the type that the operator says
        """Give an attribute's value."""
        return self.attributes.get(name, default)

    def axis(self, rank: int, default: int = 0) -> int:
        """Give the attribute "axis" as a number from 0 on."""
        axis = int(self.attribute("axis", default))
        if not -rank <= axis < rank:
            raise NotCovered
        return axis % rank

    def undecided(self) -> Value:
        """Give what is known of a result of which nothing is known, and why: this node, or those before it."""
        tracks = {}
        for key in self.keys:
            before = join(value.track(key) for value in self.given if value.shape is None)
            said = "reads at indices that are not known" if self.operator in (*_INDEXING, *_SCALING) else ""
            if self.operator == "NonZero" and not all(value.track(key).is_free for value in self.given):
                said = NUMBERS
            told = [reason for value in self.given for reason in value.track(key).undecided if reason.is_of_numbers]
            reasons = before.undecided or (Reason(self.title, said),)
            tracks[key] = Track(undecided=tuple(dict.fromkeys((*reasons, *told))))
        return Value(shape=None, tracks=tracks)
