"""The plan's inputs and right answers as arrays, for programs in Python with numpy."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.conformance.programs.reporting import PLAN

__all__ = ["DrawnWalks", "drawn_walks", "same", "walk_batch"]

_TOLERANCE = 1e-5


def same(found: Any, expected: Any) -> None:
    """Check an array of answers against the right ones.

    Raises:
        AssertionError: If shapes differ, or values by more than rounding.
    """
    np.testing.assert_allclose(found, np.array(expected), rtol=0, atol=_TOLERANCE, strict=False)
    assert np.shape(found) == np.shape(expected), f"shape {np.shape(found)}, expected {np.shape(expected)}"


def walk_batch(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return walks of the plan, repeated and padded, with the right answers.

    Args:
        rows: How many.

    Returns:
        input (batch, sequence, 2) float32, lengths (batch) int64, logits (batch, 2) float32.
    """
    walks = PLAN["classifier"]["walks"]
    chosen = [index % len(walks) for index in range(rows)]
    lengths = np.array([len(walks[index]) for index in chosen], np.int64)
    points = np.zeros((rows, int(lengths.max()), 2), np.float32)
    for row, index in enumerate(chosen):
        points[row, : lengths[row]] = walks[index]
    return points, lengths, np.array([PLAN["classifier"]["logits"][index] for index in chosen], np.float32)


@dataclasses.dataclass(frozen=True)
class DrawnWalks:
    """Many walks round a square, for a trained model.

    Attributes:
        model: The model's name.
        walks: Each (sequence, 2) float32.
        logits: What gRPC answers, (walks, 2) float32.
        directions: The index of the right class of each, (walks) int64.
    """

    model: str
    walks: Sequence[np.ndarray]
    logits: np.ndarray
    directions: np.ndarray

    def check(self, found: Sequence[np.ndarray]) -> None:
        """Check the answers to all walks: the bits are gRPC's, and the directions right.

        Args:
            found: Logits of each walk, (2) float32.

        Raises:
            AssertionError: If they are not.
        """
        answers = np.stack(found).astype(np.float32)
        other = np.flatnonzero((answers.view(np.int32) != self.logits.view(np.int32)).any(axis=1))
        assert not len(other), f"{len(other)} of {len(answers)} answers differ from gRPC's, the first is {other[0]}"
        wrong = np.flatnonzero(answers.argmax(axis=1) != self.directions)
        assert not len(wrong), f"{len(wrong)} of {len(answers)} directions are wrong, the first is {wrong[0]}"


def drawn_walks() -> DrawnWalks:
    """Read the plan's walks."""
    listed = json.loads(Path(PLAN["direction"]["file"]).read_text())
    walks = [np.array(walk, np.float32) for walk in listed["walks"]]
    logits, directions = np.array(listed["logits"], np.float32), np.array(listed["directions"])
    return DrawnWalks(PLAN["direction"]["model"], walks, logits, directions)
