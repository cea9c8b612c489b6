"""Inputs that get one value for all requests: a sampling rate, a temperature."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.adoption.questions import Question
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.errors import WrongArguments
from rnnserve.export.onnx_files import model_inputs
from rnnserve.export.subgraphs import all_nodes
from rnnserve.protos.protocol_words import BATCH

__all__ = ["numbers_by_row", "put_constants", "scalar_questions"]

_SHOWN = 4  # numbers with which the file compares an input


def numbers_by_row(model: onnx.ModelProto, roles: Roles) -> Roles:
    """Let each row send its own numbers where all that a file takes are numbers: there is nothing else in a request."""
    values = [value for value in model_inputs(model) if value.name not in roles.constants]
    kinds = [value.type.tensor_type for value in values]
    if not values or not all(kind.HasField("shape") and not kind.shape.dim for kind in kinds):
        return roles
    return dataclasses.replace(roles, axes={**{(value.name, 0): BATCH for value in values}, **roles.axes})


def put_constants(model: onnx.ModelProto, roles: Roles) -> str:
    """Give inputs the values that the user says, and remove them from the inputs.

    Returns:
        What was done, in words; empty for nothing.

    Raises:
        WrongArguments: If there is no such input, or it does not take the value.
    """
    inputs = {value.name: value for value in model_inputs(model)}
    for name, text in roles.constants.items():
        if name not in inputs:
            raise WrongArguments(f'--constant names "{name}"; there are {", ".join(inputs)}')
        model.graph.initializer.append(onnx.numpy_helper.from_array(_value(inputs[name], text), name))
        model.graph.input.remove(inputs[name])
    if not inputs.keys() - roles.constants.keys():
        raise WrongArguments("with these constants no input is left")
    if not roles.constants:
        return ""
    shown = ", ".join(f'"{name}" is {text}' for name, text in roles.constants.items())
    return f"onnx: inputs with one value for all requests, as you said: {shown}"


def _value(value: onnx.ValueInfoProto, text: str) -> npt.NDArray[Any]:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    dims = [dim.dim_value for dim in kind.shape.dim]
    if any(size < 1 for size in dims):
        raise WrongArguments(
            f"--constant {value.name}={text}: this input has an axis of any size, so its values are those of a request"
        )
    try:
        array = np.array([_number(word, dtype) for word in text.split(",")], dtype)
    except (KeyError, ValueError, OverflowError) as error:
        raise WrongArguments(f"--constant {value.name}={text}: expected numbers of {dtype}") from error
    if array.size not in (1, math.prod(dims)):
        raise WrongArguments(
            f"--constant {value.name}={text}: {array.size} numbers; expected one, or {math.prod(dims)} with commas"
        )
    return np.full(dims, array.flat[0]) if array.size == 1 else array.reshape(dims)


def _number(word: str, dtype: np.dtype[Any]) -> bool | int | float:
    if dtype.kind == "b":
        return {"true": True, "false": False, "1": True, "0": False}[word.lower()]
    return int(word) if dtype.kind in "iu" else float(word)


def scalar_questions(model: onnx.ModelProto, roles: Roles) -> Iterator[Question]:
    """Ask for the values of inputs that are one number, unless each row is to send its own."""
    for value in model_inputs(model):
        kind = value.type.tensor_type
        if not kind.HasField("shape") or kind.shape.dim or (value.name, 0) in roles.axes:
            continue
        compared = compared_with(model, value.name)
        known = f", which the file compares with {' and '.join(compared[:_SHOWN])}" if compared else ""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        yield Question(
            f'input "{value.name}" is one number ({dtype}{known}) and not one for each row, so say which',
            f"--constant {value.name}={compared[0] if compared else 'VALUE'}",
            f", or let each row send its own: --axis {value.name}.0={BATCH}",
        )


def compared_with(model: onnx.ModelProto, name: str) -> list[str]:
    """List numbers in the file that an input is compared with, in order."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    names, found = {name}, []
    for node in all_nodes(model.graph):
        if node.op_type == "Constant":
            known |= {name: each.t for name in node.output for each in node.attribute if each.name == "value"}
        elif node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and node.input[0] in names:
            names.add(node.output[0])
        elif node.op_type in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
            others = [each for each in node.input if each not in names]
            if len(others) == 1 and others[0] in known:
                array = onnx.numpy_helper.to_array(known[others[0]])
                found += [f"{array.flat[0]:g}"] if array.size == 1 else []
    return list(dict.fromkeys(found))
