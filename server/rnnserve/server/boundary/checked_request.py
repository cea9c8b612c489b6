"""A request that has passed the boundary: the second of its three stages, after arrival and before it waits."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from rnnserve.server.boundary.request_parameters import SequenceControl

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
        is_raw: Whether tensors are sent as bytes (`raw_input_contents`); the response's are sent the same way.
        wants_final_mark: Whether the response is to say that it is the last one.
        sequence: The sequence that it belongs to, whose states the server keeps; None for a request by itself.
    """

    batch: int
    sizes: Mapping[str, int]
    longest: Mapping[str, int]
    steps: int
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    id: str = ""
    is_raw: bool = True
    wants_final_mark: bool = False
    sequence: SequenceControl | None = None
