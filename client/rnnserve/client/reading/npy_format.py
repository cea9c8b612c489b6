"""numpy's `.npy`: one array, (length, features) or (batch, sequence, features)."""

import io

import numpy as np

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.reading.named_sequences import NamedSequences

__all__ = ["MAGIC", "read_npy"]

MAGIC = b"\x93NUMPY"


def read_npy(data: bytes, source: str) -> NamedSequences:
    """Return the sequences of a `.npy` file; the sequences of a three-dimensional array have equal lengths.

    Raises:
        UnreadableInput: The content is not a `.npy` file, holds objects (pickles are never loaded) or no real numbers,
            or has other axes.
    """
    if not data.startswith(MAGIC):
        raise UnreadableInput(f"{source}: is not a .npy file. Expected a file that numpy.save wrote")
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # a damaged header may state any size
        raise UnreadableInput(
            f"{source}: expected one array of numbers ({error}). For sequences of different lengths, use JSON or CSV"
        ) from error
    if array.dtype.kind not in "biuf":
        raise UnreadableInput(f"{source}: has dtype {array.dtype}. Expected real numbers")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UnreadableInput(
            f"{source}: has shape {array.shape}. Expected (length, features), or (batch, sequence, features), with no "
            "axis of size 0"
        )
    return NamedSequences.numbered([array] if array.ndim == 2 else list(array))
