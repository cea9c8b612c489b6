"""A validated request: the second of a request's three stages, between its arrival and its wait in the queue."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from rnnserve.protos.inference_pb2 import ModelInferResponse

__all__ = ["Array", "CheckedRequest", "SequenceControl"]

Array = npt.NDArray[Any]


class SequenceControl(NamedTuple):
    """The sequence parameters of a request."""

    id: int | str  # not 0. 5 and "5" are different ids
    starts: bool  # its states are zeros or its own inputs
    ends: bool  # afterwards the states are dropped
    key: str = ""  # the secret that its requests share on any connection


@dataclasses.dataclass(slots=True)
class CheckedRequest:
    """A request that is safe to run: its tensors match the model's, and their sizes and values are valid.

    Attributes:
        sizes: Size of each sequence axis by name, as sent. Empty for a model without sequence axes.
        longest: Steps that a run needs, by sequence axis: at most `sizes`. Steps after the longest length are left out
            if the model permits.
        inputs: The sent arrays by name, such as `input` (batch, sequence, features) float32, `lengths` (batch) int64,
            `h_0` (layers * directions, batch, hidden) float32; read-only, contiguous.
        outputs: Names of the run's outputs: the requested outputs in order, followed by final states that the server
            only keeps.
        sequence: The sequence whose states the server keeps. None for a request without a sequence.
        keeper: For a request of a session, takes its run's outputs by name, encrypts the final states, and returns a
            response with only parameters. None for other requests.
        classes: Number of classes by classification output. None without such outputs.
        timeout: Seconds the request may wait for its run. Infinity if only its deadline limits the wait.
    """

    batch: int  # size of the batch axis: the request's rows
    sizes: Mapping[str, int]
    longest: Mapping[str, int]
    steps: int  # steps of a row in a run: the sum of `longest`, or 1 without sequence axes
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    id: str = ""  # the request's id, which the response repeats
    is_raw: bool = True  # whether tensors were sent as bytes (`raw_input_contents`)
    sequence: SequenceControl | None = None
    unasked: int = 0  # the number of last `outputs` that the response leaves out
    keeper: Callable[[Mapping[str, Array]], ModelInferResponse] | None = None
    classes: Mapping[str, int] | None = None
    timeout: float = math.inf

    @property
    def answered(self) -> tuple[str, ...]:
        """Names of the outputs in the response, in the requested order."""
        return self.outputs[: len(self.outputs) - self.unasked]

    @property
    def is_plain(self) -> bool:
        """Whether inputs and outputs are raw, no states are kept, and only its deadline limits its wait."""
        return self.is_raw and self.keeper is None and not self.classes and self.timeout == math.inf
