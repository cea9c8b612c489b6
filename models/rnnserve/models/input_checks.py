"""Checks of a classifier's inputs in eager mode, with messages that explain the expected shapes.

The checks help people who call a classifier directly. TorchScript and exported graphs don't contain them, so neither
branches on data.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnserve.models.architecture import Architecture
from rnnserve.models.errors import ShapeError

if TYPE_CHECKING:
    from rnnserve.models.classifier import DirectionClassifier

__all__ = ["check_inputs"]


def check_inputs(
    classifier: "DirectionClassifier", input: Tensor, lengths: Tensor | None, **states: Tensor | None
) -> None:
    """Check the arguments of a classifier's forward. Does nothing while tracing or exporting.

    Args:
        classifier: The called classifier.
        input: Must be (batch, sequence, features), with the dtype and device of the classifier's parameters.
        lengths: None, or (batch,) int64 on the CPU with values from 1 to sequence.
        **states: `h_0` and `c_0`. Each is None, or (num_layers * directions, batch, hidden) with the dtype and device
            of the parameters.

    Raises:
        ShapeError: If an argument doesn't fit. The message describes the first such argument.
    """
    if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined, no-untyped-call]
        return
    architecture = classifier.architecture
    _check_input_shape(architecture, input)
    _check_dtype_and_device("input", input, classifier.head.weight)
    if lengths is not None:
        _check_lengths(input, lengths)
    for name, state in states.items():
        if state is not None:
            _check_state(architecture, name, input, state)
            _check_dtype_and_device(name, state, classifier.head.weight)


def _check_input_shape(architecture: Architecture, input: Tensor) -> None:
    features = architecture.features
    shape = tuple(input.shape)
    expected = f"input has shape {shape}; expected (batch, sequence, features) with {features} features"
    if input.dim() == 2 and shape[1] == features:
        raise ShapeError(f"{expected}: the batch axis is missing; for one sequence use input[None]")
    if input.dim() != 3:
        raise ShapeError(f"{expected}: expected 3 axes, got {input.dim()}")
    if shape[2] != features:
        where = [axis for axis in (0, 1) if shape[axis] == features]
        hint = (
            f"; axis {where[-1]} has that size: are the features there? Permute them to the end"
            if len(where) == 1
            else ""
        )
        raise ShapeError(f"{expected}: the last axis has size {shape[2]}{hint}")
    if shape[0] == 0 or shape[1] == 0:
        empty = "batch" if shape[0] == 0 else "sequence"
        raise ShapeError(f"{expected}: the {empty} axis is empty, and every axis needs 1 or more")


def _check_dtype_and_device(name: str, tensor: Tensor, parameter: Tensor) -> None:
    if tensor.dtype != parameter.dtype:
        raise ShapeError(
            f"{name} is {tensor.dtype}, but the classifier's parameters are {parameter.dtype}; use "
            f"{name}.to({parameter.dtype})"
        )
    if tensor.device != parameter.device:
        raise ShapeError(f"{name} is on {tensor.device}, but the classifier is on {parameter.device}")


def _check_lengths(input: Tensor, lengths: Tensor) -> None:
    batch, sequence = input.shape[:2]
    shape = tuple(lengths.shape)
    if lengths.dtype != torch.int64:
        raise ShapeError(f"lengths is {lengths.dtype}, expected torch.int64, one integer for each row")
    if lengths.device.type != "cpu":
        raise ShapeError(f"lengths is on {lengths.device}, but PyTorch packs sequences on the CPU; use lengths.cpu()")
    if shape != (batch,):
        hint = _sequence_first_hint(sequence, shape == (sequence,))
        raise ShapeError(
            f"lengths has shape {shape}; expected (batch,) = ({batch},), one length for each row of input "
            f"{tuple(input.shape)}{hint}"
        )
    outside = torch.nonzero((lengths < 1) | (lengths > sequence))
    if len(outside):
        row = int(outside[0])
        hint = _sequence_first_hint(sequence, bool((lengths >= 1).all()) and int(lengths.max()) <= batch)
        raise ShapeError(
            f"lengths[{row}] is {int(lengths[row])}, expected 1 to {sequence}, the sequence axis of input "
            f"{tuple(input.shape)}{hint}"
        )


def _sequence_first_hint(sequence: int, likely: bool) -> str:
    if not likely:
        return ""
    return f": is input sequence-first? Its sequence axis has size {sequence}; if so, use input.transpose(0, 1)"


def _check_state(architecture: Architecture, name: str, input: Tensor, state: Tensor) -> None:
    batch = input.shape[0]
    shape = tuple(state.shape)
    expected_shape = (architecture.states, batch, architecture.hidden)
    if shape == expected_shape:
        return
    expected = (
        f"{name} has shape {shape}; expected (num_layers * directions, batch, hidden) = {expected_shape}, with "
        f"{architecture.num_layers} layer(s) and {architecture.directions} direction(s)"
    )
    if shape == (batch, expected_shape[0], expected_shape[2]):
        raise ShapeError(
            f"{expected}: it is batch-first, but states never are, even if input is; use {name}.transpose(0, 1)"
        )
    if shape == expected_shape[1:]:
        raise ShapeError(f"{expected}: the first axis is missing; use {name}[None]")
    if shape == (expected_shape[0], input.shape[1], expected_shape[2]):
        raise ShapeError(
            f"{expected}: its second axis is input's sequence, {input.shape[1]}: is input {tuple(input.shape)} "
            "sequence-first? Use input.transpose(0, 1)"
        )
    raise ShapeError(expected)
