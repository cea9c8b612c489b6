"""The tensors that a direction classifier takes and gives: names, datatypes and axes, in the order of its forward."""

from collections.abc import Mapping

from rnnserve.models import Architecture
from rnnserve.protos import manifest_pb2

__all__ = ["batch_axes", "initial_states_of", "inputs_of", "outputs_of", "shape_of"]

_FREE = -1


def inputs_of(architecture: Architecture) -> list[manifest_pb2.Tensor]:
    """Describe the arguments of forward.

    Returns:
        `input` (batch, sequence, features) FP32, `lengths` (batch,) INT64, `h_0` (layers * directions, batch, hidden)
        FP32 and, for lstm, `c_0` like `h_0`.
    """
    return [
        _tensor("input", ("batch", _FREE), ("sequence", _FREE), ("features", architecture.features)),
        manifest_pb2.Tensor(
            name="lengths",
            datatype="INT64",
            axes=[manifest_pb2.Axis(name="batch", size=_FREE)],
            default=manifest_pb2.DEFAULT_FULL_LENGTH,
        ),
        *initial_states_of(architecture),
    ]


def initial_states_of(architecture: Architecture) -> list[manifest_pb2.Tensor]:
    """Describe those inputs that are states: `h_0` and, for lstm, `c_0`."""
    states = _states(architecture, "0")
    for state in states:
        state.default = manifest_pb2.DEFAULT_ZEROS
    return states


def outputs_of(architecture: Architecture) -> list[manifest_pb2.Tensor]:
    """Describe the results of forward.

    Returns:
        `logits` (batch, classes), `output` (batch, sequence, directions * hidden), `h_n` (layers * directions, batch,
        hidden) and, for lstm, `c_n` like `h_n`; all FP32.
    """
    width = architecture.directions * architecture.hidden
    tensors = [
        _tensor("logits", ("batch", _FREE), ("classes", architecture.classes)),
        _tensor("output", ("batch", _FREE), ("sequence", _FREE), ("directions * hidden", width)),
    ]
    for state in _states(architecture, "n"):
        state.continues_as = state.name.replace("_n", "_0")
        tensors.append(state)
    return tensors


def shape_of(tensor: manifest_pb2.Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Give a tensor's shape, with the sizes of its free axes by name."""
    return tuple(sizes[axis.name] if axis.size == _FREE else axis.size for axis in tensor.axes)


def batch_axes(architecture: Architecture) -> dict[str, int]:
    """Give the position of the batch axis in every input and output, by name: 1 in states, 0 in the others."""
    tensors = [*inputs_of(architecture), *outputs_of(architecture)]
    return {tensor.name: [axis.name for axis in tensor.axes].index("batch") for tensor in tensors}


def _states(architecture: Architecture, suffix: str) -> list[manifest_pb2.Tensor]:
    letters = "hc" if architecture.cell == "lstm" else "h"
    axes = (("layers * directions", architecture.states), ("batch", _FREE), ("hidden", architecture.hidden))
    return [_tensor(f"{letter}_{suffix}", *axes) for letter in letters]


def _tensor(name: str, *axes: tuple[str, int]) -> manifest_pb2.Tensor:
    named = [manifest_pb2.Axis(name=axis, size=size) for axis, size in axes]
    return manifest_pb2.Tensor(name=name, datatype="FP32", axes=named)
