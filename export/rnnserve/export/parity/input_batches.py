"""The inputs that are compared: single steps, random sequences and walks, at sizes unlike the exporter's sample."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rnnserve.export.classifier_tensors import initial_states_of, shape_of
from rnnserve.export.parity.onnx_runner import Arrays
from rnnserve.models import Architecture, generate_walks, pad

__all__ = ["BATCH_SIZES", "LENGTHS", "WALK_LENGTHS", "InputBatch", "input_batches", "random_inputs"]

BATCH_SIZES = tuple(range(1, 34))
LENGTHS = (2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128)
WALK_LENGTHS = (2, 3, 4, 8, 16, 32, 64)

_WALKS = 64
# By row: usual states; zeros, with which a sequence begins; small ones; ones that saturate tanh.
_STATE_SCALES = np.array([1.0, 0.0, 0.1, 2.0], dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class InputBatch:
    """One batch of inputs.

    Attributes:
        kind: "step", "random" or "walk", as in a manifest's parity record.
        inputs: By name, in the order of the classifier's forward. Values after a row's length are arbitrary.
    """

    kind: str
    inputs: Arrays

    @property
    def length(self) -> int:
        """The size of the sequence axis."""
        return int(self.inputs["input"].shape[1])

    def __str__(self) -> str:
        return f"{self.kind} of batch {self.inputs['input'].shape[0]}, sequence {self.length}"


def input_batches(architecture: Architecture, seed: int) -> Iterator[InputBatch]:
    """Give every batch that is compared: all batch sizes, all lengths, 176 rows and more of each random length.

    Walks are points of a plane, so a classifier whose features are not two gets none.
    """
    random = np.random.default_rng(seed)
    for batch in BATCH_SIZES:
        yield InputBatch("step", random_inputs(architecture, random, batch, 1))
    for number, length in enumerate(LENGTHS):
        for position, batch in enumerate(BATCH_SIZES[number % 3 :: 3]):  # three lengths have all batch sizes
            inputs = random_inputs(architecture, random, batch, length, ragged=position % 3 > 0)
            yield InputBatch("random", inputs)
    if architecture.features == 2:
        for length in WALK_LENGTHS:
            yield InputBatch("walk", _walks(architecture, length, seed))


def random_inputs(
    architecture: Architecture, random: np.random.Generator, batch: int, length: int, *, ragged: bool = False
) -> Arrays:
    """Draw random points and states.

    Args:
        architecture: Of the classifier.
        random: Where they are drawn from.
        batch: Number of rows.
        length: Size of the sequence axis.
        ragged: Whether rows have any length up to `length`, and one of them `length`; otherwise all have `length`.

    Returns:
        `input` (batch, sequence, features) float32, `lengths` (batch,) int64, `h_0` (layers * directions, batch,
        hidden) float32 and, for lstm, `c_0` like `h_0`.
    """
    inputs: Arrays = {
        "input": random.standard_normal((batch, length, architecture.features), dtype=np.float32),
        "lengths": np.full(batch, length, dtype=np.int64),
    }
    if ragged:
        inputs["lengths"] = random.integers(1, length, size=batch, endpoint=True)
        inputs["lengths"][random.integers(batch)] = length
    scales = np.resize(_STATE_SCALES, batch)[:, None]  # (batch, 1)
    for state in initial_states_of(architecture):
        inputs[state.name] = random.standard_normal(shape_of(state, {"batch": batch}), dtype=np.float32) * scales
    return inputs


def _walks(architecture: Architecture, length: int, seed: int) -> Arrays:
    """Draw walks round the square from zero states, half of them of full length; shapes as in `random_inputs`."""
    half = _WALKS // 2
    full, _ = generate_walks(half, min_length=length, max_length=length, seed=seed + length)
    ragged, _ = generate_walks(half, max_length=length, seed=seed + length + 1000)
    points: npt.NDArray[np.float32]
    points, lengths = pad(full + ragged)
    inputs: Arrays = {"input": points, "lengths": lengths}
    for state in initial_states_of(architecture):
        inputs[state.name] = np.zeros(shape_of(state, {"batch": _WALKS}), dtype=np.float32)
    return inputs
