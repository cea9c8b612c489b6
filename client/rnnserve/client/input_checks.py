"""Checks of the sequences and states that a caller passes, before anything is sent.

Only shapes are checked here. The server checks values: it reports which element is NaN, for example.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.tensors import DTYPES, Array, as_array

__all__ = ["SequencesLike", "StatesLike", "check_features", "check_sequences", "check_state", "dtype_of"]

SequencesLike = npt.ArrayLike | Sequence[npt.ArrayLike]
"""A list of arrays (length, features) of any lengths, or one array (batch, sequence, features); real numbers."""

StatesLike = npt.ArrayLike | Sequence[npt.ArrayLike | None]
"""One array (layers * directions, batch, hidden), or a list with one (layers * directions, hidden) or None per
sequence; real numbers, None for zeros."""


def check_sequences(sequences: SequencesLike) -> list[Array]:
    """Return the sequences as numeric arrays (length, features), with the same number of features in all of them.

    Raises:
        InvalidRequest: A sequence is not two-dimensional, is empty or ragged, holds no real numbers, or has another
            number of features than the first sequence.
    """
    if hasattr(sequences, "__array__"):
        sequences = np.asarray(sequences)
        _check_batch(sequences)
    arrays = [_check_sequence(index, sequence) for index, sequence in enumerate(_listed(sequences, "sequences"))]
    for index, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise InvalidRequest(
                f"sequence {index} has shape {array.shape}, {array.shape[1]} features, but sequence 0 has "
                f"{arrays[0].shape[1]}. Expected (length, features) with the same features in every sequence"
            )
    return arrays


def check_features(arrays: Sequence[Array], metadata: ModelMetadata) -> None:
    """Check that the sequences have the model's number of features.

    Args:
        arrays: One array (length, features) per sequence, as `check_sequences` returns them.
        metadata: The model's metadata.

    Raises:
        InvalidRequest: The model takes another number of features, or it is not a classifier of sequences.
    """
    tensor = metadata.inputs.get("input")
    if tensor is None or len(tensor.shape) != 3 or "logits" not in metadata.outputs:
        raise InvalidRequest(
            f"model {metadata.name} takes {_names(metadata.inputs)} and returns {_names(metadata.outputs)}. classify() "
            "needs `input` (batch, sequence, features) and `logits` (batch, classes); infer() accepts any tensors"
        )
    features = tensor.shape[2]
    for index, array in enumerate(arrays):
        if features not in (-1, array.shape[1]):
            hint = ""
            if array.shape[0] == features:
                hint = ". It looks like (features, length): transpose it"
            raise InvalidRequest(
                f"sequence {index} has shape {array.shape}, but model {metadata.name} takes (length, "
                f"features={features}){hint}"
            )


def check_state(name: str, state: StatesLike, count: int, metadata: ModelMetadata) -> Array:
    """Return the initial state of a whole batch, axes in PyTorch's order.

    Args:
        name: `h_0` or `c_0`.
        state: One array (layers * directions, batch, hidden), or a list with one (layers * directions, hidden) or None
            per sequence; None means zeros.
        count: Number of sequences.
        metadata: The model's metadata.

    Returns:
        An array (layers * directions, batch, hidden) of the model's dtype.

    Raises:
        InvalidRequest: The state's shape does not match, or the model has no such input.
    """
    tensor = metadata.inputs.get(name)
    if tensor is None or len(tensor.shape) != 3:
        raise InvalidRequest(f"model {metadata.name} takes no {name}: its inputs are {_names(metadata.inputs)}")
    # Tensors of other libraries are arrays too. Iterating over one would mistake layers for sequences.
    array = np.asarray(state) if hasattr(state, "__array__") else _stack_states(name, state, count, tensor)
    layers, _, hidden = tensor.shape
    expected = (layers, count, hidden)
    if not _matches(array.shape, expected):
        raise InvalidRequest(
            f"{name} has shape {array.shape}. Expected (layers * directions={_any(layers)}, batch={count}, "
            f"hidden={_any(hidden)}), as in PyTorch, or a list of {count} arrays (layers * directions, hidden)"
            + _state_hint(array.shape, expected)
        )
    with np.errstate(over="ignore"):  # the server reports which elements became infinite
        return _numeric(array, name).astype(dtype_of(tensor), copy=False)


def dtype_of(tensor: TensorMetadata) -> np.dtype[np.generic]:
    """Return the dtype of a model's input.

    Raises:
        InvalidRequest: The input does not take numbers.
    """
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise InvalidRequest(f"the model takes {tensor.name} as {tensor.datatype}, which has no numeric dtype in numpy")
    return dtype


def _check_batch(array: Array) -> None:
    if array.dtype == object:
        raise InvalidRequest(
            f"sequences is an array of objects, shape {array.shape}. Sequences of different lengths go into a list: "
            "[first, second], each (length, features)"
        )
    if array.ndim != 3:
        hint = ". For one sequence (length, features), pass [sequence]" if array.ndim == 2 else ""
        raise InvalidRequest(
            f"sequences is one array of shape {array.shape}. Expected (batch, sequence, features), or a list of arrays "
            f"(length, features){hint}"
        )


def _listed(value: object, what: str) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{what} is a {type(value).__name__}. Expected a list of arrays")
    return list(value)


def _check_sequence(index: int, sequence: npt.ArrayLike) -> Array:
    array = _numeric(as_array(sequence, f"sequence {index}"), f"sequence {index}")
    if array.ndim != 2:
        hint = ""
        if array.ndim == 3:
            hint = ". It has a batch axis of its own: pass the arrays in it as separate sequences"
        elif array.ndim == 1:
            hint = ". It is a single point, or a sequence of numbers: if points have one feature, use reshape(-1, 1)"
        elif array.ndim == 0:
            hint = ". It is a single number: pass a list of sequences"
        raise InvalidRequest(f"sequence {index} has shape {array.shape}. Expected (length, features){hint}")
    if 0 in array.shape:
        raise InvalidRequest(
            f"sequence {index} has shape {array.shape} and is empty. Expected (length, features), both at least 1"
        )
    return array


def _numeric(array: Array, what: str) -> Array:
    if array.dtype == object:
        raise InvalidRequest(
            f"{what} is an array of objects, shape {array.shape}: numpy creates such arrays from parts of different "
            "sizes. Expected numbers, and one size along each axis"
        )
    if array.dtype.kind not in "biuf":
        raise InvalidRequest(f"{what} has dtype {array.dtype}. Expected real numbers")
    return array


def _stack_states(name: str, states: StatesLike, count: int, tensor: TensorMetadata) -> Array:
    listed = _listed(states, name)
    if len(listed) != count:
        raise InvalidRequest(
            f"{name} is a list of {len(listed)} states for {count} sequences. Expected one (layers * directions, "
            "hidden) per sequence, None for zeros"
        )
    layers, _, hidden = tensor.shape
    given: list[Array | None] = []
    for index, state in enumerate(listed):
        array = None if state is None else _numeric(as_array(state, f"{name}[{index}]"), f"{name}[{index}]")
        if array is not None and not _matches(array.shape, (layers, hidden)):
            raise InvalidRequest(
                f"{name}[{index}] has shape {array.shape}. Expected (layers * directions={_any(layers)}, "
                f"hidden={_any(hidden)}), as in a Classification's h_n, one per sequence"
            )
        given.append(array)
    zeros = _zeros(name, given, (layers, hidden))
    shapes = {zeros.shape} | {array.shape for array in given if array is not None}
    if len(shapes) > 1:
        raise InvalidRequest(f"{name} has states of different shapes: {sorted(shapes)}")
    return np.stack([zeros if array is None else array for array in given], axis=1)


def _zeros(name: str, given: Sequence[Array | None], shape: tuple[int, int]) -> Array:
    """Return zeros (layers * directions, hidden) of the given states' shape, or of the model's if there are none."""
    size = next((array.shape for array in given if array is not None), shape)
    if min(size) < 0:
        raise InvalidRequest(f"{name}: the server does not report the size of a state, so None cannot stand for zeros")
    return np.zeros(size, dtype=np.float32)


def _state_hint(shape: tuple[int, ...], expected: tuple[int, int, int]) -> str:
    layers, count, hidden = expected
    if _matches(shape, (count, layers, hidden)):
        return ". It looks batch-first; states never are, even if `input` is: use .transpose(1, 0, 2)"
    if _matches(shape, (layers, hidden)):
        return ". It looks like the state of a single sequence: pass a list of them"
    return ""


def _matches(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Return whether a shape is as expected; an expected -1 matches any size but 0."""
    return len(shape) == len(expected) and all(
        size == required if required >= 0 else size > 0 for size, required in zip(shape, expected, strict=True)
    )


def _any(size: int) -> str:
    return "any" if size < 0 else str(size)


def _names(tensors: Iterable[str]) -> str:
    return ", ".join(tensors) or "nothing"
