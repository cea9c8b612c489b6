"""The publication of a direction classifier, with walks around the square as samples."""

from typing import Any

import numpy.typing as npt

from rnnserve.export.description.publication import Floats, InputDescription, Lengths, Publication
from rnnserve.models import Architecture, Checkpoint, generate_walks, pad

__all__ = ["classifier_publication"]

_WALK_LENGTHS = (2, 3, 4, 8, 16, 32, 64)
_WALKS = 64  # walks of each length


def classifier_publication(checkpoint: Checkpoint, *, seed: int = 0) -> Publication:
    """Describe a classifier as a publication."""
    architecture = checkpoint.classifier.architecture
    states = ["h", "c"] if architecture.cell == "lstm" else ["h"]
    state = Floats(("layers * directions", architecture.states), "batch", ("hidden", architecture.hidden))
    inputs: dict[str, InputDescription] = {
        "input": Floats("batch", "sequence", ("features", architecture.features)),
        "lengths": Lengths(),
        **{f"{letter}_0": state for letter in states},
    }
    outputs: dict[str, InputDescription] = {
        "logits": Floats("batch", ("classes", architecture.classes)),
        "output": Floats("batch", "sequence", ("directions * hidden", architecture.directions * architecture.hidden)),
        **{f"{letter}_n": state for letter in states},
    }
    return Publication(
        checkpoint.classifier,
        checkpoint.name,
        inputs,
        outputs,
        states={f"{letter}_n": f"{letter}_0" for letter in states},
        labels=checkpoint.labels,
        samples=_walks(architecture, seed),
        checkpoint_sha256=checkpoint.sha256,
    )


def _walks(architecture: Architecture, seed: int) -> list[dict[str, npt.NDArray[Any]]]:
    """Draw walks around the square. Half of them have the full length.

    Walks consist of points in a plane, so a classifier gets none unless it has exactly two features. `input` is (batch,
    sequence, features) float32, and `lengths` is (batch,) int64.
    """
    if architecture.features != 2:
        return []
    samples: list[dict[str, npt.NDArray[Any]]] = []
    half = _WALKS // 2
    for length in _WALK_LENGTHS:
        full, _ = generate_walks(half, min_length=length, max_length=length, seed=seed + length)
        ragged, _ = generate_walks(half, max_length=length, seed=seed + length + 1000)
        points, lengths = pad(full + ragged)
        samples.append({"input": points, "lengths": lengths})
    return samples
