"""From walks to batches: padding, and a data loader that pads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rnnserve.models.errors import DataError

__all__ = ["Batch", "SequenceDataset", "data_loader", "pad"]


class Batch(NamedTuple):
    """Padded sequences and what they are.

    Attributes:
        input: (batch, sequence, features) float32, zeros behind each row's length.
        lengths: (batch,) int64.
        directions: (batch,) int64.
    """

    input: Tensor
    lengths: Tensor
    directions: Tensor


class SequenceDataset(Dataset[tuple[NDArray[np.floating], int]]):
    """Pairs of points (length, features) and their class.

    Raises:
        DataError: not as many directions as sequences.
    """

    def __init__(self, points: Sequence[NDArray[np.floating]], directions: NDArray[np.int64]) -> None:
        if len(points) != len(directions):
            raise DataError(f"{len(points)} sequences with {len(directions)} directions; expected one for each")
        self.points = points
        self.directions = directions

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[NDArray[np.floating], int]:
        return self.points[index], int(self.directions[index])


def data_loader(dataset: SequenceDataset, *, batch_size: int, seed: int | None = None) -> DataLoader[Batch]:
    """Load padded batches, in order or, given a seed, shuffled: the same seed gives the same batches each time.

    Args:
        dataset: sequences of one features axis, of any lengths.
        batch_size: rows of a batch; the last may have fewer.
        seed: of the order, which differs from epoch to epoch; None keeps the dataset's own.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    # DataLoader is typed by what its dataset holds; what it gives is what collate_fn makes of it.
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=batch_size, shuffle=seed is not None, generator=generator, collate_fn=_collate
    )
    return loader


def pad(points: Sequence[ArrayLike]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put sequences of different lengths into one array, zeros behind each one's end.

    Args:
        points: arrays (length, features), each of 1 point or more, all of the same number of features.

    Returns:
        input: (batch, sequence, features) float32; sequence is the longest length.
        lengths: (batch,) int64.

    Raises:
        DataError: no sequences, an empty one, one that is not (length, features), or one of other features.
    """
    arrays = [np.asarray(sequence, dtype=np.float32) for sequence in points]
    if not arrays:
        raise DataError("no sequences; a batch needs 1 or more")
    for row, array in enumerate(arrays):
        if array.ndim != 2:
            raise DataError(f"sequence {row} is {array.shape}, expected (length, features): a row for each point")
        if array.shape[0] == 0 or array.shape[1] == 0:
            raise DataError(f"sequence {row} is {array.shape}, expected 1 point or more of 1 feature or more")
        if array.shape[1] != arrays[0].shape[1]:
            raise DataError(
                f"sequence {row} is {array.shape}, expected (length, features) with {arrays[0].shape[1]} features as "
                "in sequence 0"
            )
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    input = np.zeros((len(arrays), int(lengths.max()), arrays[0].shape[1]), dtype=np.float32)
    for row, array in enumerate(arrays):
        input[row, : len(array)] = array
    return input, lengths


def _collate(samples: list[tuple[NDArray[np.floating], int]]) -> Batch:
    input, lengths = pad([points for points, _ in samples])
    directions = torch.tensor([direction for _, direction in samples], dtype=torch.int64)
    return Batch(torch.from_numpy(input), torch.from_numpy(lengths), directions)
