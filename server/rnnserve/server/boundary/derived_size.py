"""Sizes of outputs' axes that follow from those of the inputs: width/4, or one step more."""

import dataclasses
from collections.abc import Mapping

__all__ = ["DerivedSize"]


@dataclasses.dataclass(frozen=True)
class DerivedSize:
    """The size of an axis of an output: (multiply * size + add) // divide of an axis of the inputs.

    Attributes:
        of: The axis of the inputs.
        multiply: How many steps the output has for a step of the input, before it is divided.
        add: What edges add.
        divide: The product of strides.
    """

    of: str
    multiply: int
    add: int
    divide: int

    def size(self, sizes: Mapping[str, int]) -> int:
        """The size, from those of the inputs' axes."""
        return (self.multiply * sizes[self.of] + self.add) // self.divide
