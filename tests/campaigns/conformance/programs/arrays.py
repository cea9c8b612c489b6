"""The plan's inputs and right answers as arrays, for programs in Python with numpy."""

from typing import Any

import numpy as np

from campaigns.conformance.programs.reporting import PLAN

__all__ = ["same", "walk_batch"]

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
