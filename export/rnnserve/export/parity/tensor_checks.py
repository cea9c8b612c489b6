"""The first comparisons: names, axis names and dtypes of the ONNX model, and the names of a script's arguments."""

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch

from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

__all__ = ["check_onnx", "check_script"]

_Tensors = Sequence[manifest_pb2.Tensor]


def check_onnx(model: onnx.ModelProto, inputs: _Tensors, outputs: _Tensors) -> Iterator[str]:
    """Compare an ONNX model's inputs and outputs with those described; yields a sentence for each difference."""
    constants = {tensor.name for tensor in model.graph.initializer}
    yield from _check_side("input", [value for value in model.graph.input if value.name not in constants], inputs)
    yield from _check_side("output", list(model.graph.output), outputs)


def check_script(script: torch.jit.ScriptModule, inputs: _Tensors) -> Iterator[str]:
    """Compare the names of a script's arguments with the inputs; yields a sentence if they differ.

    An argument with a default may be missing from the inputs. The tensors of a tuple have names of their own, so
    nothing is compared where a tuple is passed.
    """
    forward: Any = script.forward  # typed as a plain callable
    arguments = forward.schema.arguments[1:]
    names = [tensor.name for tensor in inputs]
    known = {argument.name for argument in arguments}
    if any("Tuple" in str(argument.type) for argument in arguments) and not known.issuperset(names):
        return
    found = [argument.name for argument in arguments if argument.name in names or not argument.has_default_value()]
    if found != names:
        takes, expected = (", ".join(f'"{name}"' for name in side) or "none" for side in (found, names))
        yield f"torchscript, names: forward takes {takes}; expected {expected}"


def _check_side(side: str, values: Sequence[onnx.ValueInfoProto], expected: _Tensors) -> Iterator[str]:
    found = {value.name: value for value in values}
    names = [tensor.name for tensor in expected]
    if list(found) != names:
        yield f"onnx, names: {side}s are {_listed(list(found))}; expected {_listed(names)}"
    for tensor in expected:
        if tensor.name not in found:
            continue
        kind = found[tensor.name].type.tensor_type
        dtype, expected_dtype = _dtype(kind.elem_type), DTYPES[tensor.datatype].name
        if dtype != expected_dtype:
            yield f'onnx, dtypes: {side} "{tensor.name}" is {dtype}; expected {expected_dtype}'
        axes = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "(no name)" for dim in kind.shape.dim
        )
        expected_axes = tuple(axis.name if axis.size < 0 else axis.size for axis in tensor.axes)
        if axes != expected_axes:
            yield f'onnx, axis names: {side} "{tensor.name}" has axes {_shown(axes)}; expected {_shown(expected_axes)}'


def _dtype(elem_type: int) -> str:
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        return f"of ONNX's type {elem_type}"


def _shown(axes: Sequence[str | int]) -> str:
    return f"({', '.join(str(axis) for axis in axes)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none"
