"""What must hold of an exported program before it is returned."""

from collections.abc import Sequence
from typing import cast

import onnx
import onnx_ir as ir
import torch

from rnnserve.export.errors import BrokenPostcondition
from rnnserve.export.recurrence import layer_operators
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.exact_passes import RECURRENT

__all__ = ["check_postconditions"]


def check_postconditions(
    program: torch.onnx.ONNXProgram, axes: DynamicAxes, input_names: Sequence[str], output_names: Sequence[str]
) -> None:
    """Compare a program with what was asked for.

    Args:
        program: Program that is to be returned.
        axes: The dynamic ones.
        input_names: Names of the inputs, in order.
        output_names: Names of the outputs, in order.

    Raises:
        BrokenPostcondition: If anything differs; the message has all of it.
    """
    graph = program.model.graph
    wrong = [
        *_names("inputs", [value.name for value in graph.inputs], input_names),
        *_names("outputs", [value.name for value in graph.outputs], output_names),
        *_axes(graph, axes),
        *_operators(program),
    ]
    if wrong:
        raise BrokenPostcondition("the exporter did not give what was asked for: " + "; ".join(wrong))
    try:
        onnx.checker.check_model(program.model_proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as invalid:
        raise BrokenPostcondition(f"the exported model is not valid ONNX: {invalid}") from invalid


def _names(what: str, found: Sequence[str | None], asked: Sequence[str]) -> list[str]:
    return [] if list(found) == list(asked) else [f"{what} are {list(found)}, not {list(asked)}"]


def _axes(graph: ir.Graph, axes: DynamicAxes) -> list[str]:
    wrong = []
    for value, names in zip(graph.inputs, axes.names, strict=True):
        for axis, name in names.items():
            found = value.shape[axis] if value.shape is not None else None
            if str(getattr(found, "value", found)) != name:
                wrong.append(f'axis {axis} of the input {value.name} is {found}, not "{name}"')
    return wrong


def _operators(program: torch.onnx.ONNXProgram) -> list[str]:
    """Check that there is one operator for each layer, none unrolled, and none of our own domain."""
    exported = cast(torch.export.ExportedProgram, program.exported_program)
    stand_ins = [
        node
        for node in exported.graph.nodes
        if node.target in (layer_operators.RNN, layer_operators.GRU, layer_operators.LSTM)
    ]
    # The exporter merges calls that are equal in everything, so that there may be fewer operators than calls.
    distinct = {
        (node.target, str([argument for argument in node.args if isinstance(argument, list)])) for node in stand_ins
    }
    nodes = [node for node in program.model.graph.all_nodes() if node.op_type in RECURRENT]
    wrong = []
    if not len(distinct) <= len(nodes) <= len(stand_ins):
        wrong.append(f"{len(nodes)} recurrent operators for {len(stand_ins)} layers")
    foreign = sorted({node.domain for node in program.model.graph.all_nodes() if node.domain})
    if foreign:
        wrong.append(f"operators of other domains than ONNX's own: {foreign}")
    return wrong
