"""The golden cases of a classifier: inputs, and what eager PyTorch makes of them in float32 and in float64.

Every server computes them again before it serves. Of the three kinds (see `rnnserve.protos.golden`), random sequences
need care: a trained recurrence amplifies rounding on them, and where it does no value can be held to a tight limit.
Rows are therefore chosen: only those stay in which a disturbance as small as float32's rounding remains small.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.limits import replay_limits
from rnnserve.export.manifest import inputs_of
from rnnserve.export.parity import Reference
from rnnserve.models import DirectionClassifier, generate_walks, pad
from rnnserve.protos.golden import Case

__all__ = ["make_cases"]

_Array = npt.NDArray[Any]

_STEPS = (1, 2, 5, 8)
_WALKS = ((1, 64), (2, 7), (5, 64), (3, 33))
_RANDOM = ((1, 16), (2, 64), (5, 33), (4, 48))
"""Batch, and batch and sequence sizes: one row, even and odd, and no two alike."""

_CANDIDATES = 64
_DISTURBANCES = 4
_CALM = 0.25
"""How much of the limit for one value a disturbance may take up: another runtime's rounding may be unluckier."""


def make_cases(classifier: DirectionClassifier, *, seed: int = 0) -> list[Case]:
    """Make the golden cases: the same classifier and seed give the same ones.

    Args:
        classifier: In evaluation mode, float32.
        seed: Of the inputs.
    """
    random = np.random.default_rng(seed)
    reference = Reference(classifier)
    cases = [_case("step", reference, _random(classifier, random, [1] * batch, 1)) for batch in _STEPS]
    for batch, sequence in _WALKS:
        cases.append(_case("walk", reference, _walks(classifier, random, batch, sequence)))
    for batch, sequence in _RANDOM:
        rows = [_calm_row(reference, random, length) for length in _lengths(random, batch, sequence)]
        cases.append(_case("random", reference, _stack(rows, sequence)))
    return cases


def _case(kind: str, reference: Reference, inputs: dict[str, _Array]) -> Case:
    return Case(kind, inputs, eager=reference.eager(inputs), float64=reference.exact(inputs))


def _lengths(random: np.random.Generator, batch: int, sequence: int) -> list[int]:
    """Ragged: one row is as long as the sequence axis, wherever in the batch; the others are of any length."""
    lengths = random.integers(1, sequence, size=batch, endpoint=True)
    lengths[random.integers(batch)] = sequence
    return [int(length) for length in lengths]


def _random(
    classifier: DirectionClassifier, random: np.random.Generator, lengths: Sequence[int], sequence: int
) -> dict[str, _Array]:
    """Normal points and states within -1 and 1, where tanh keeps them; noise in the padding too."""
    architecture = classifier.architecture
    batch = len(lengths)
    inputs: dict[str, _Array] = {
        "input": random.standard_normal((batch, sequence, architecture.features), dtype=np.float32),
        "lengths": np.array(lengths, dtype=np.int64),
    }
    for tensor in inputs_of(architecture)[2:]:
        shape = (architecture.states, batch, architecture.hidden)
        inputs[tensor.name] = random.uniform(-1, 1, shape).astype(np.float32)
    return inputs


def _walks(
    classifier: DirectionClassifier, random: np.random.Generator, batch: int, sequence: int
) -> dict[str, _Array]:
    """Walks round the square from zero states, as in training; further features repeat the two."""
    walks: list[_Array] = []
    for length in _lengths(random, batch, sequence):
        points, _ = generate_walks(1, min_length=length, max_length=length, seed=int(random.integers(2**31)))
        walks.append(np.resize(np.asarray(points[0]).T, (classifier.architecture.features, length)).T)
    input, lengths = pad(walks)
    inputs = _random(classifier, random, [int(length) for length in lengths], sequence)
    states = {name: np.zeros_like(array) for name, array in inputs.items() if name not in ("input", "lengths")}
    return {"input": input, "lengths": lengths, **states}


def _calm_row(reference: Reference, random: np.random.Generator, length: int) -> dict[str, _Array]:
    """Draw a random row that does not amplify rounding: a shorter one where none of that length is to be had.

    Returns:
        Inputs of batch 1.
    """
    limit = _CALM * min(at.sequence_largest for at in replay_limits())
    while True:
        rows = _random(reference.classifier, random, [length] * _CANDIDATES, length)
        reach = _reach(reference, rows, random)
        calm = np.flatnonzero(reach <= limit)
        if calm.size or length == 1:
            chosen = int(calm[0]) if calm.size else int(np.argmin(reach))
            return {name: np.take(array, [chosen], _batch_axis(name)) for name, array in rows.items()}
        length //= 2


def _reach(reference: Reference, rows: Mapping[str, _Array], random: np.random.Generator) -> _Array:
    """How far outputs move when points and states move by as much as float32 rounds, for each row.

    It is measured in float64 rather than by eager's own error, so that the rows that are chosen are not those in which
    eager had luck.
    """
    exact = reference.exact(rows)
    reach = np.zeros(len(rows["lengths"]))
    for _ in range(_DISTURBANCES):
        moved = {
            name: array + np.finfo(np.float32).eps * random.uniform(-1, 1, array.shape) if name != "lengths" else array
            for name, array in rows.items()
        }
        for name, found in reference.exact(moved).items():
            by_row = np.moveaxis(np.abs(found - exact[name]), _batch_axis(name), 0)
            reach = np.maximum(reach, by_row.reshape(len(reach), -1).max(axis=1))
    return reach


def _stack(rows: Sequence[Mapping[str, _Array]], sequence: int) -> dict[str, _Array]:
    """Put rows of batch 1 into one batch, zeros behind each one's end."""
    inputs = {}
    for name in rows[0]:
        arrays = [row[name] for row in rows]
        if name == "input":
            arrays = [np.pad(array, ((0, 0), (0, sequence - array.shape[1]), (0, 0))) for array in arrays]
        inputs[name] = np.concatenate(arrays, _batch_axis(name))
    return inputs


def _batch_axis(name: str) -> int:
    return 1 if name in ("h_0", "c_0", "h_n", "c_n") else 0
