"""The ladder's first rungs: names, axis names and dtypes, of the ONNX model and of the script."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch

from rnnserve.models import Architecture

__all__ = ["Signature", "Tensor", "check_onnx", "check_script", "signature_of"]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a tensor must be.

    Attributes:
        name: as PyTorch calls it.
        dtype: NumPy's name.
        axes: a name where a request chooses the size, else the size.
    """

    name: str
    dtype: str
    axes: tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """The tensors that a classifier takes and gives, in order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def signature_of(architecture: Architecture) -> Signature:
    """The tensors of a classifier of this architecture."""
    states, hidden = architecture.states, architecture.hidden
    letters = ("h", "c") if architecture.cell == "lstm" else ("h",)
    state = (states, "batch", hidden)
    return Signature(
        inputs=(
            Tensor("input", "float32", ("batch", "sequence", architecture.features)),
            Tensor("lengths", "int64", ("batch",)),
            *(Tensor(f"{letter}_0", "float32", state) for letter in letters),
        ),
        outputs=(
            Tensor("logits", "float32", ("batch", architecture.classes)),
            Tensor("output", "float32", ("batch", "sequence", architecture.directions * hidden)),
            *(Tensor(f"{letter}_n", "float32", state) for letter in letters),
        ),
    )


def check_onnx(model: onnx.ModelProto, expected: Signature) -> Iterator[str]:
    """Compare an ONNX model's inputs and outputs with what they must be; yields a sentence per difference."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    yield from _check_side("input", inputs, expected.inputs)
    yield from _check_side("output", list(model.graph.output), expected.outputs)


def check_script(script: torch.jit.ScriptModule, expected: Signature) -> Iterator[str]:
    """Compare the names that a script's forward takes with what they must be."""
    forward: Any = script.forward  # typed as a plain callable
    found = [argument.name for argument in forward.schema.arguments[1:]]
    names = [tensor.name for tensor in expected.inputs]
    if found != names:
        yield f"torchscript, names: forward takes {_listed(found)}; expected {_listed(names)}"


def _check_side(side: str, values: Sequence[onnx.ValueInfoProto], expected: Sequence[Tensor]) -> Iterator[str]:
    found = {value.name: value for value in values}
    names = [tensor.name for tensor in expected]
    if list(found) != names:
        yield f"onnx, names: {side}s are {_listed(list(found))}; expected {_listed(names)}"
    for tensor in expected:
        if tensor.name not in found:
            continue
        kind = found[tensor.name].type.tensor_type
        dtype = _dtype(kind.elem_type)
        if dtype != tensor.dtype:
            yield f'onnx, dtypes: {side} "{tensor.name}" is {dtype}; expected {tensor.dtype}'
        axes = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "(no name)" for dim in kind.shape.dim
        )
        if axes != tensor.axes:
            yield f'onnx, axis names: {side} "{tensor.name}" has axes {_shown(axes)}; expected {_shown(tensor.axes)}'


def _dtype(elem_type: int) -> str:
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        return f"of ONNX's type {elem_type}"


def _shown(axes: Sequence[str | int]) -> str:
    return f"({', '.join(str(axis) for axis in axes)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none"
