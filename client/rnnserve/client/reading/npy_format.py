"""numpy's `.npy`: one array, (length, features) or (batch, sequence, features)."""

import io

import numpy as np

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.reading.named import NamedSequences

__all__ = ["MAGIC", "read_npy"]

MAGIC = b"\x93NUMPY"


def read_npy(data: bytes, source: str) -> NamedSequences:
    """Return the sequences of a `.npy` file; all of (batch, sequence, features) have the same length.

    Raises:
        UnreadableInput: It is no such file, holds objects (pickles are never loaded) or no numbers, or has other axes.
    """
    if not data.startswith(MAGIC):
        raise UnreadableInput(f"{source}: does not start as a .npy file does. Expected what numpy.save writes")
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # a damaged header may claim any size
        raise UnreadableInput(
            f"{source}: expected one array of numbers ({error}). Sequences of different lengths fit JSON or CSV"
        ) from error
    if array.dtype.kind not in "biuf":
        raise UnreadableInput(f"{source}: has dtype {array.dtype}. Expected real numbers")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UnreadableInput(
            f"{source}: has shape {array.shape}. Expected (length, features), or (batch, sequence, features), with no "
            "axis of size 0"
        )
    return NamedSequences.numbered([array] if array.ndim == 2 else list(array))
