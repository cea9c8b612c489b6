"""Outputs as classes, as Triton's classification extension writes them: "value:index" or "value:index:label".

Triton ranks all elements of a row of the batch. Here each vector along the last axis is ranked by itself, which is the
same for an output (batch, classes), and for (batch, sequence, classes) says a class of each step.
"""

import struct
from collections.abc import Sequence

import numpy as np

from rnnserve.server.boundary.checked_request import Array

__all__ = ["rank_classes"]


def rank_classes(values: Array, count: int, labels: Sequence[str]) -> tuple[tuple[int, ...], bytes]:
    """Rank the classes of an output, the highest value first; of equal values, the lowest index.

    Args:
        values: (…, classes), of a numeric dtype.
        count: Number of classes, at most as many as there are.
        labels: Labels of the classes, by index; empty for none.

    Returns:
        The shape (…, count), and as many elements as the protocol's BYTES: each is a size, uint32 and little-endian,
        and as many bytes.
    """
    classes = values.shape[-1]
    rows = values.reshape(-1, classes)
    # A stable sort of the mirrored rows, mirrored again: numpy sorts upwards only.
    order = classes - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    pieces: list[bytes] = []
    is_float = values.dtype.kind == "f"
    for index, value in zip(order.ravel().tolist(), np.take_along_axis(rows, order, 1).ravel().tolist(), strict=True):
        text = f"{value:f}:{index}" if is_float else f"{value}:{index}"  # std::to_string writes six decimals
        if labels:
            text += f":{labels[index]}"
        element = text.encode()
        pieces += struct.pack("<I", len(element)), element
    return (*values.shape[:-1], count), b"".join(pieces)
