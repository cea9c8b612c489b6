"""A request that has passed the boundary: the second of its three stages, after arrival and before it waits."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

__all__ = ["Array", "CheckedRequest"]

Array = npt.NDArray[Any]


@dataclasses.dataclass(slots=True)
class CheckedRequest:
    """A request that may be run: its tensors are the model's, and their sizes and values are valid.

    Attributes:
        batch: Size of the batch axis: the request's rows.
        sizes: Size of each sequence axis by name: the steps that it was sent with. Empty for a model without any.
        longest: By sequence axis, how many steps a run of it needs: no more than `sizes`, and those after the longest
            of its lengths left out where they may be.
        steps: Steps of a row in a run: the sum of `longest`, or 1 for a model without sequence axes.
        inputs: By name, the arrays that were sent, such as `input` (batch, sequence, features) float32, `lengths`
            (batch) int64, `h_0` (layers * directions, batch, hidden) float32; read-only, contiguous.
        outputs: Names of the outputs wanted, in the order asked.
        id: The request's id, which the response repeats.
        is_raw: Whether tensors were sent as bytes (`raw_input_contents`).
        classes: By output that is to be answered as classes: how many of them. None where there is no such output.
        timeout: Seconds that the request may wait for its run; infinity where its deadline alone says it.
    """

    batch: int
    sizes: Mapping[str, int]
    longest: Mapping[str, int]
    steps: int
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    id: str = ""
    is_raw: bool = True
    classes: Mapping[str, int] | None = None
    timeout: float = math.inf

    @property
    def is_plain(self) -> bool:
        """Whether its tensors are bytes both ways, and nothing but its deadline says how long it may wait."""
        return self.is_raw and not self.classes and self.timeout == math.inf
