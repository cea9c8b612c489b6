"""A request that has passed the boundary: the second of its three stages, after arrival and before it waits."""

import dataclasses
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
        sequence: Size of the sequence axis: the steps that it was sent with.
        longest: The largest of `lengths`: steps after it are padding in every row.
        inputs: By name, the arrays that were sent, such as `input` (batch, sequence, features) float32, `lengths`
            (batch) int64, `h_0` (layers * directions, batch, hidden) float32; read-only, contiguous.
        outputs: Names of the outputs wanted, in the order asked.
        id: The request's id, which the response repeats.
        is_raw: Whether tensors are sent as bytes (`raw_input_contents`); the response's are sent the same way.
    """

    batch: int
    sequence: int
    longest: int
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    id: str = ""
    is_raw: bool = True
