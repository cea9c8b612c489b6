"""How good a direction classifier is, on sequences that no training draws."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rnnserve.models.classifier import DirectionClassifier
from rnnserve.models.loading import SequenceDataset, data_loader
from rnnserve.models.sequences import generate_sequences, generate_walks

__all__ = ["HELD_OUT_SEED", "TARGETS", "Accuracies", "Evaluation", "evaluate"]

# Trainings take seeds below it, so that none ever draws the walks that judge it.
HELD_OUT_SEED = 2**32


class Accuracies(NamedTuple):
    """Shares of held-out sequences told right, 0 to 1.

    Attributes:
        tutorial_fixed: the tutorial's sequences of 4 points, its own 128 among them.
        tutorial_variable: the tutorial's sequences of 2 to 4 points.
        walks: walks of 2 to 64 points.
        prefixes: each prefix of 2 or more points of walks of 64, as one who streams points meets them.
    """

    tutorial_fixed: float
    tutorial_variable: float
    walks: float
    prefixes: float

    def missed(self) -> list[str]:
        """Say which of `TARGETS` are not reached, a phrase each."""
        return [
            f"{name} {found:.4f} (target {target})"
            for name, found, target in zip(self._fields, self, TARGETS, strict=True)
            if not found >= target
        ]


TARGETS = Accuracies(tutorial_fixed=1.0, tutorial_variable=1.0, walks=0.995, prefixes=0.995)


class Evaluation(NamedTuple):
    """Accuracies, and the largest absolute logit met: rounding in float32 grows with it."""

    accuracies: Accuracies
    largest_logit: float


def evaluate(classifier: DirectionClassifier) -> Evaluation:
    """Judge a classifier of 2 features and 2 classes on about 16,000 held-out sequences."""
    whole = generate_walks(64, min_length=64, max_length=64, seed=HELD_OUT_SEED + 1)
    sets: list[tuple[Sequence[NDArray[np.floating]], NDArray[np.int64]]] = [
        _tutorial(variable_len=False),
        _tutorial(variable_len=True),
        generate_walks(4096, seed=HELD_OUT_SEED),
        _prefixes(*whole),
    ]
    results = [_judge(classifier, points, directions) for points, directions in sets]
    return Evaluation(Accuracies(*(accuracy for accuracy, _ in results)), max(largest for _, largest in results))


def _tutorial(*, variable_len: bool) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    # From the tutorial's own seed on: trainings draw walks only, so all of them are held out.
    draws = [generate_sequences(128, variable_len, seed) for seed in range(13, 45)]
    return [row for points, _ in draws for row in points], np.concatenate([directions for _, directions in draws])


def _prefixes(
    points: list[NDArray[np.float32]], directions: NDArray[np.int64]
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    prefixes = [
        (walk[:length], direction)
        for walk, direction in zip(points, directions, strict=True)
        for length in range(2, len(walk) + 1)
    ]
    return [prefix for prefix, _ in prefixes], np.array([direction for _, direction in prefixes])


def _judge(
    classifier: DirectionClassifier, points: Sequence[NDArray[np.floating]], directions: NDArray[np.int64]
) -> tuple[float, float]:
    right, largest = 0, 0.0
    with torch.inference_mode():
        for batch in data_loader(SequenceDataset(points, directions), batch_size=512):
            logits = classifier(batch.input, batch.lengths)[0]
            right += int((logits.argmax(dim=1) == batch.directions).sum())
            largest = max(largest, float(logits.abs().max()))
    return right / len(points), largest
