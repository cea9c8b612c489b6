"""A validated request: the second of its three stages, after its arrival and before it waits."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from rnnserve.protos.inference_pb2 import ModelInferResponse

__all__ = ["Array", "CheckedRequest", "SequenceControl"]

Array = npt.NDArray[Any]


class SequenceControl(NamedTuple):
    """What the parameters of a request say about its sequence."""

    id: int | str  # not 0; 5 and "5" are two ids
    starts: bool  # its states are zeros, or those that it brings
    ends: bool  # afterwards the states are dropped
    key: str = ""  # the secret that its requests have in common, on whatever connection


@dataclasses.dataclass(slots=True)
class CheckedRequest:
    """A request that may be run: its tensors are the model's, and their sizes and values are valid.

    Attributes:
        sizes: Size of each sequence axis by name: the steps that were sent. Empty for a model without such axes.
        longest: By sequence axis, how many steps a run of it needs: no more than `sizes`, and those after the longest
            of its lengths left out if they may be.
        inputs: By name, the arrays that were sent, such as `input` (batch, sequence, features) float32, `lengths`
            (batch) int64, `h_0` (layers * directions, batch, hidden) float32; read-only, contiguous.
        outputs: Names of the outputs that its run gives: those wanted, in the order asked, and after them the final
            states that are kept only.
        sequence: The sequence that it belongs to, whose states the server keeps; None for a request by itself.
        keeper: For a request of a session, keeps the final states among the outputs of its run, by name, and returns a
            response with nothing but its parameters; None for a request of its own.
        classes: By output that is to be answered as classes: how many. None if there is no such output.
        timeout: Seconds that the request may wait for its run; infinity if only its deadline limits that.
    """

    batch: int  # size of the batch axis: the request's rows
    sizes: Mapping[str, int]
    longest: Mapping[str, int]
    steps: int  # steps of a row in a run: the sum of `longest`, or 1 for a model without sequence axes
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    id: str = ""  # the request's id, which the response repeats
    is_raw: bool = True  # whether tensors were sent as bytes (`raw_input_contents`)
    sequence: SequenceControl | None = None
    unasked: int = 0  # how many at the end of `outputs` the response leaves out
    keeper: Callable[[Mapping[str, Array]], ModelInferResponse] | None = None
    classes: Mapping[str, int] | None = None
    timeout: float = math.inf

    @property
    def answered(self) -> tuple[str, ...]:
        """Names of the outputs that the response has, in the order asked."""
        return self.outputs[: len(self.outputs) - self.unasked]

    @property
    def is_plain(self) -> bool:
        """Whether its tensors are bytes both ways, its states are its own, and its deadline alone limits its wait."""
        return self.is_raw and self.keeper is None and not self.classes and self.timeout == math.inf
