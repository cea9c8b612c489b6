"""Rules to compute the size of an output axis from an input axis, such as width // 4 or one step more."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rnnserve.protos import manifest_pb2

__all__ = ["DerivedSize"]


class DerivedSize(NamedTuple):
    """The size of an output axis: times * ((multiply * size + add) // divide) + plus, between two bounds.

    Attributes:
        of: The axis of the inputs.
        multiply: Steps of the output for each step of the input, before the division.
        add: Steps that edges add.
        divide: The product of the strides.
        times: Steps of the output for each of these.
        plus: Steps in addition.
        smallest: The smallest size.
        largest: The largest size, or 0 for no limit.
    """

    of: str
    multiply: int
    add: int
    divide: int
    times: int = 1
    plus: int = 0
    smallest: int = 0
    largest: int = 0

    @classmethod
    def of_axis(cls, axis: "manifest_pb2.DerivedAxis") -> "DerivedSize":
        """Read the rule from a manifest's axis."""
        times = axis.times or 1
        return cls(axis.of, axis.multiply, axis.add, axis.divide, times, axis.plus, axis.smallest, axis.largest)

    def size(self, size: int) -> int:
        """Compute the axis's size from the size of the input axis."""
        found = self.times * ((self.multiply * size + self.add) // self.divide) + self.plus
        return max(min(found, self.largest) if self.largest else found, self.smallest)

    def sizes(self, sizes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Compute the axis's size for each of several sizes of the input axis."""
        found = self.times * ((self.multiply * sizes + self.add) // self.divide) + self.plus
        bounded: npt.NDArray[Any] = np.clip(found, self.smallest, self.largest or None)
        return bounded

    @property
    def fields(self) -> list[str | int]:
        """The fields for the protocol: the first four, and further fields up to the last without its default."""
        fields: list[str | int] = list(self)
        further = list(self._field_defaults.values())
        while further and fields[-1] == further[-1]:
            fields.pop()
            further.pop()
        return fields

    def __str__(self) -> str:
        text = self.of if self.multiply == 1 else f"{self.multiply}*{self.of}"
        if self.add:
            text = f"{text}{self.add:+d}" if self.divide == 1 else f"({text}{self.add:+d})"
        text += f"/{self.divide}" if self.divide > 1 else ""
        if self.times > 1 or self.plus:
            text = f"{self.times}*({text})" + (f"{self.plus:+d}" if self.plus else "")
        if self.smallest or self.largest:  # no comma: names of axes are listed with commas
            text += f" [{self.smallest or ''}..{self.largest or ''}]"
        return text
