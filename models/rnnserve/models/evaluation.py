"""Accuracy of a direction classifier on held-out sequences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rnnserve.models.classifier import DirectionClassifier
from rnnserve.models.data_loading import SequenceDataset, data_loader
from rnnserve.models.sequences import generate_sequences, generate_walks

__all__ = ["ACCURACY_TARGETS", "HELD_OUT_SEED", "Accuracies", "Evaluation", "evaluate"]

# Trainings use seeds below this one, so that no training draws the walks of the evaluation.
HELD_OUT_SEED = 2**32


class Accuracies(NamedTuple):
    """Shares of correctly classified held-out sequences, 0 to 1.

    Attributes:
        tutorial_fixed: Accuracy on the tutorial's sequences of 4 points, with the 128 of the tutorial itself among
            them.
        tutorial_variable: Accuracy on the tutorial's sequences of 2 to 4 points.
        walks: Accuracy on walks of 2 to 64 points.
        prefixes: Accuracy on all prefixes of 2 or more points of walks of 64, as sent by a client that streams
            points sends.
    """

    tutorial_fixed: float
    tutorial_variable: float
    walks: float
    prefixes: float

    def missed(self) -> list[str]:
        """Describe each of the `ACCURACY_TARGETS` that the classifier misses."""
        return [
            f"{name} {found:.4f} (target {target})"
            for name, found, target in zip(self._fields, self, ACCURACY_TARGETS, strict=True)
            if not found >= target
        ]


ACCURACY_TARGETS = Accuracies(tutorial_fixed=1.0, tutorial_variable=1.0, walks=0.995, prefixes=0.995)


class Evaluation(NamedTuple):
    """Accuracies, and the largest absolute logit: float32's rounding error grows with it."""

    accuracies: Accuracies
    largest_logit: float


def evaluate(classifier: DirectionClassifier) -> Evaluation:
    """Evaluate a classifier of 2 features and 2 classes on about 16,000 held-out sequences."""
    longest = generate_walks(64, min_length=64, max_length=64, seed=HELD_OUT_SEED + 1)
    sets: list[tuple[Sequence[NDArray[np.floating]], NDArray[np.int64]]] = [
        _tutorial_sequences(variable_len=False),
        _tutorial_sequences(variable_len=True),
        generate_walks(4096, seed=HELD_OUT_SEED),
        _all_prefixes(*longest),
    ]
    results = [_evaluate_on(classifier, points, directions) for points, directions in sets]
    return Evaluation(Accuracies(*(accuracy for accuracy, _ in results)), max(largest for _, largest in results))


def _tutorial_sequences(*, variable_len: bool) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Return the tutorial's sequences of 32 seeds, each (length, features), and their classes, (sequences,) int64."""
    # Seeds from the tutorial's seed on. Trainings draw only walks, so all of these sequences are held out.
    draws = [generate_sequences(128, variable_len, seed) for seed in range(13, 45)]
    return [row for points, _ in draws for row in points], np.concatenate([directions for _, directions in draws])


def _all_prefixes(
    points: list[NDArray[np.float32]], directions: NDArray[np.int64]
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Return all prefixes of 2 or more points of walks, each (length, features), and their classes, (prefixes,)."""
    prefixes = [
        (walk[:length], direction)
        for walk, direction in zip(points, directions, strict=True)
        for length in range(2, len(walk) + 1)
    ]
    return [prefix for prefix, _ in prefixes], np.array([direction for _, direction in prefixes])


def _evaluate_on(
    classifier: DirectionClassifier, points: Sequence[NDArray[np.floating]], directions: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the accuracy, 0 to 1, and the largest absolute logit on sequences.

    Args:
        classifier: The classifier.
        points: Sequences, each (length, features), float32 or float64.
        directions: Classes of the sequences, (sequences,) int64.
    """
    right, largest = 0, 0.0
    with torch.inference_mode():
        for batch in data_loader(SequenceDataset(points, directions), batch_size=512):
            logits = classifier(batch.input, batch.lengths)[0]  # (batch, classes)
            right += int((logits.argmax(dim=1) == batch.directions).sum())
            largest = max(largest, float(logits.abs().max()))
    return right / len(points), largest
