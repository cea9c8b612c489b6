"""Padding of sequences into batches, and a data loader that pads."""

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
    """Padded sequences with their classes.

    Attributes:
        input: Points, (batch, sequence, features) float32, with zeros after each row's length.
        lengths: Number of points in each row, (batch,) int64.
        directions: Class of each row, (batch,) int64: 1 clockwise, 0 counter-clockwise.
    """

    input: Tensor
    lengths: Tensor
    directions: Tensor


class SequenceDataset(Dataset[tuple[NDArray[np.floating], int]]):
    """Pairs of a sequence, (length, features), and its class.

    Attributes:
        points: Array (length, features), float32 or float64, for each sequence.
        directions: Classes, (sequences,) int64.

    Raises:
        DataError: If the numbers of sequences and classes differ.
    """

    def __init__(self, points: Sequence[NDArray[np.floating]], directions: NDArray[np.int64]) -> None:
        if len(points) != len(directions):
            raise DataError(
                f"got {len(points)} sequences but {len(directions)} directions; expected one direction per sequence"
            )
        self.points = points
        self.directions = directions

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[NDArray[np.floating], int]:
        return self.points[index], int(self.directions[index])


def data_loader(dataset: SequenceDataset, *, batch_size: int, seed: int | None = None) -> DataLoader[Batch]:
    """Return a loader of padded batches, in the dataset's order or shuffled by a seed.

    Args:
        dataset: Sequences of any lengths, all with the same number of features.
        batch_size: Rows of a batch. The last batch may have fewer.
        seed: Seed of the order, which differs between epochs. The same seed produces the same batches. None keeps
            the dataset's order.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    # DataLoader's type parameter is the dataset's item, but it yields the result of collate_fn, a Batch.
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=batch_size, shuffle=seed is not None, generator=generator, collate_fn=_collate
    )
    return loader


def pad(points: Sequence[ArrayLike]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Copy sequences of different lengths into one array, with zeros after each sequence's end.

    Args:
        points: Arrays (length, features), each of 1 point or more, all with the same number of features.

    Returns:
        input: (batch, sequence, features) float32, where sequence is the longest length.
        lengths: Number of points of each sequence, (batch,) int64.

    Raises:
        DataError: If `points` is empty, or a sequence is empty, is not (length, features), or has other features.
    """
    arrays = [np.asarray(sequence, dtype=np.float32) for sequence in points]
    if not arrays:
        raise DataError("no sequences; a batch needs 1 or more")
    for row, array in enumerate(arrays):
        if array.ndim != 2:
            raise DataError(f"sequence {row} has shape {array.shape}; expected (length, features), one row per point")
        if array.shape[0] == 0 or array.shape[1] == 0:
            raise DataError(f"sequence {row} has shape {array.shape}; expected at least 1 point and 1 feature")
        if array.shape[1] != arrays[0].shape[1]:
            raise DataError(
                f"sequence {row} has shape {array.shape}; expected (length, features) with {arrays[0].shape[1]} "
                "features, as in sequence 0"
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
