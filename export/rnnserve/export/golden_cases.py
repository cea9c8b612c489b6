"""The golden cases of a classifier: inputs, and eager PyTorch's results in float32 and in float64.

Every server computes them again before it serves. Of the three kinds (see `rnnserve.protos.golden`), whole sequences
need
care: a trained recurrence amplifies rounding on some of them, random ones above all, and then no value has a tight
limit. So rows are chosen: only those are used on which rounding remains small.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.classifier_tensors import batch_axes, initial_states_of, shape_of
from rnnserve.export.parity import Reference
from rnnserve.export.rounding import Rounding
from rnnserve.models import Architecture, DirectionClassifier, generate_walks
from rnnserve.protos.golden import Case, Inference

__all__ = ["make_cases"]

_Array = npt.NDArray[Any]
_Draw = Callable[[Architecture, np.random.Generator, int], dict[str, _Array]]
_Sizes = Sequence[tuple[int, int]]

_STEPS = (1, 2, 5, 8)
_WALKS = ((1, 64), (2, 7), (4, 64), (3, 33))
_RANDOM = ((1, 16), (2, 64), (5, 33), (4, 48))
"""Batch sizes, and (batch, sequence) sizes: one row, even and odd numbers, and no two equal."""

_CANDIDATES = 64
_CALM = 0.25
"""The part of a limit that rounding may use here: on another runtime it may use more."""


def make_cases(classifier: DirectionClassifier, compute: Inference, *, seed: int = 0) -> list[Case]:
    """Make the golden cases: the same classifier and seed give the same ones.

    Args:
        classifier: In evaluation mode, float32.
        compute: Its ONNX model, proven: used only to find rows on which rounding remains small.
        seed: Of the inputs.
    """
    architecture = classifier.architecture
    random = np.random.default_rng(seed)
    rounding = Rounding(classifier, compute, random)
    cases = [_case("step", rounding.reference, _random(architecture, random, 1, batch)) for batch in _STEPS]
    draws: dict[str, tuple[_Sizes, _Draw]] = {"walk": (_WALKS, _walks), "random": (_RANDOM, _random)}
    for kind, (sizes, draw) in draws.items():
        for batch, sequence in sizes:
            lengths = _lengths(random, batch, sequence)
            rows = [_calm_row(architecture, rounding, random, draw, length) for length in lengths]
            cases.append(_case(kind, rounding.reference, _stack(architecture, rows, sequence)))
    return cases


def _case(kind: str, reference: Reference, inputs: dict[str, _Array]) -> Case:
    return Case(kind, inputs, eager=reference.eager(inputs), float64=reference.exact(inputs))


def _lengths(random: np.random.Generator, batch: int, sequence: int) -> list[int]:
    """Draw lengths: one row, anywhere in the batch, is as long as the sequence axis; the others have any length."""
    lengths = random.integers(1, sequence, size=batch, endpoint=True)
    lengths[random.integers(batch)] = sequence
    return [int(length) for length in lengths]


def _random(
    architecture: Architecture, random: np.random.Generator, length: int, batch: int = _CANDIDATES
) -> dict[str, _Array]:
    """Draw rows of one length: normal points, and states between -1 and 1, the range of tanh.

    Returns:
        Every input by name; shapes as in `rnnserve.export.classifier_tensors.inputs_of`.
    """
    inputs: dict[str, _Array] = {
        "input": random.standard_normal((batch, length, architecture.features), dtype=np.float32),
        "lengths": np.full(batch, length, dtype=np.int64),
    }
    for state in initial_states_of(architecture):
        inputs[state.name] = random.uniform(-1, 1, shape_of(state, {"batch": batch})).astype(np.float32)
    return inputs


def _walks(architecture: Architecture, random: np.random.Generator, length: int) -> dict[str, _Array]:
    """Draw walks round the square from zero states, as in training; features beyond two repeat the two."""
    points, _ = generate_walks(_CANDIDATES, min_length=length, max_length=length, seed=int(random.integers(2**31)))
    features = np.arange(architecture.features) % 2
    inputs: dict[str, _Array] = {
        "input": np.stack(points)[:, :, features],
        "lengths": np.full(_CANDIDATES, length, dtype=np.int64),
    }
    for state in initial_states_of(architecture):
        inputs[state.name] = np.zeros(shape_of(state, {"batch": _CANDIDATES}), dtype=np.float32)
    return inputs


def _calm_row(
    architecture: Architecture, rounding: Rounding, random: np.random.Generator, draw: _Draw, length: int
) -> dict[str, _Array]:
    """Draw a row on which rounding remains small; a shorter one if there is none of that length.

    Returns:
        Every input by name, of batch 1.
    """
    while True:
        rows = draw(architecture, random, length)
        reach = rounding.reach(rows)
        calm = np.flatnonzero(reach <= _CALM)
        if calm.size or length == 1:
            chosen = int(calm[0]) if calm.size else int(np.argmin(reach))
            axes = batch_axes(architecture)
            return {name: np.take(array, [chosen], axes[name]) for name, array in rows.items()}
        length //= 2


def _stack(architecture: Architecture, rows: Sequence[Mapping[str, _Array]], sequence: int) -> dict[str, _Array]:
    """Join rows of batch 1 to one batch, with zeros after each row's length."""
    axes = batch_axes(architecture)
    inputs = {}
    for name in rows[0]:
        arrays = [row[name] for row in rows]
        if name == "input":
            arrays = [np.pad(array, ((0, 0), (0, sequence - array.shape[1]), (0, 0))) for array in arrays]
        inputs[name] = np.concatenate(arrays, axes[name])
    return inputs
