"""Finding graphs of versions that were published while torch's optimizer and all of its translations were used.

They lost constants of 1e-8 and less, and hold translations that are wrong far from 0 (docs/reference/operators.md).
With model.pt its constants are compared with those of the graph, and its values in the proof that `verify` repeats.
Without it, the graph alone shows what cannot be right. Graphs that were exported since have a mark. One translation was
found wrong later, attention that sees nothing: it is looked for in marked graphs, too.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from rnnserve.export.onnx_files import load_model
from rnnserve.export.recurrence.exporter_metadata import TRANSLATED_BY
from rnnserve.export.recurrence.graph_values import values_of

__all__ = ["old_translations"]

_AGAIN = "publish it again"
_WRONG_WHEREVER = {
    "Resize": "as torch translated interpolate: it takes other steps where one length is no multiple of the other",
    "InstanceNormalization": "as torch translated instance and group norm: wrong where a channel is all but constant",
}
_LARGEST_ERASED = 1e-8  # what torch's optimizer takes for 0, as onnxscript's pattern matcher has it
_NEAR_ONE = 1e-5  # and for 1
_LOWEST = -65504.0  # of float16, that of float32 is lower


def old_translations(model: bytes, script: torch.nn.Module | None) -> Iterator[str]:
    """Say what in a graph is not what its module computes, a sentence each.

    Args:
        model: The bytes of model.onnx.
        script: Module that the version's model.pt holds, if it has one.
    """
    graph = load_model(model)
    is_old = TRANSLATED_BY not in graph.metadata_props
    of_old = (*_erased(graph, script), *_unstable(graph, script)) if is_old else ()
    for finding in dict.fromkeys((*of_old, *_of_attention(graph))):
        yield f"{finding}: {_AGAIN}"


def _of_attention(model: ir.Model) -> Iterator[str]:
    """Find attention under booleans as torch translates it, where nothing gives zeros for a query that sees no key."""
    for node in model.graph.all_nodes():
        if node.op_type != "Softmax" or not any(user.op_type == "IsNaN" for user, _ in node.outputs[0].uses()):
            continue
        added = _producer(node, 0)
        masks = [] if added is None or added.op_type != "Add" else [_producer(added, at) for at in (0, 1)]
        if any(mask is not None and mask.op_type == "Where" and _hides(mask) for mask in masks):
            weighed = [user for user, _ in node.outputs[0].uses() if user.op_type == "Where"]
            products = [user for kept in weighed for user, _ in kept.outputs[0].uses() if user.op_type == "MatMul"]
            if not all(user.op_type == "Where" for product in products for user, _ in product.outputs[0].uses()):
                yield f"{_title(node)} is of attention as torch translated it: a mean where a mask hides all"


def _hides(where: ir.Node) -> bool:
    """Whether a choice gives the lowest number of its type."""
    number = where.inputs[2]
    tensor = None if number is None else number.const_value
    return tensor is not None and tensor.size == 1 and float(tensor.numpy().reshape(())) <= _LOWEST


def _erased(model: ir.Model, script: torch.nn.Module | None) -> Iterator[str]:
    """Compare the small constants of a script with those of the graph."""
    if script is None:
        return
    held = list(_constants(model))
    for number in sorted(_small_constants(script)):
        if not any(np.isclose(constant, number, rtol=1e-6, atol=0.0) for constant in held):
            yield f"the constant {number:g} of the module is not in the graph: torch's optimizer took it for 0 or 1"


def _small_constants(script: torch.nn.Module) -> set[float]:
    """Give the numbers in a script that torch's optimizer erased, where they are an operand of + - * or /."""
    graph: Any = script.inlined_graph  # torch's stubs lack its methods
    found = set()
    for operator in ("aten::add", "aten::sub", "aten::mul", "aten::div"):
        for node in (*graph.findAllNodes(operator), *graph.findAllNodes(f"{operator}_")):
            for value in node.inputs():
                constant = value.toIValue()
                if isinstance(constant, float) and _was_erased(operator, constant):
                    found.add(constant)
    return found


def _was_erased(operator: str, constant: float) -> bool:
    if operator in ("aten::add", "aten::sub"):
        return 0 < abs(constant) <= _LARGEST_ERASED
    return 0 < abs(constant - 1) <= _NEAR_ONE


def _constants(model: ir.Model) -> Iterator[float]:
    """Give every number of the graph: constants of one element, and attributes such as epsilon."""
    for value in values_of(model):
        tensor = value.const_value
        if tensor is not None and tensor.size == 1 and tensor.dtype.is_floating_point():
            yield float(tensor.numpy().reshape(()))
    for node in model.graph.all_nodes():
        for attribute in node.attributes.values():
            if attribute.type is ir.AttributeType.FLOAT:
                yield attribute.as_float()
            elif attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().size == 1:
                yield float(attribute.as_tensor().numpy().reshape(()))


def _unstable(model: ir.Model, script: torch.nn.Module | None) -> Iterator[str]:
    """Find the shapes of torch's unstable translations, and what has a pole at 0 without anything added."""
    for node in model.graph.all_nodes():
        if node.op_type in _WRONG_WHEREVER:
            yield f"{_title(node)} is {_WRONG_WHEREVER[node.op_type]}"
        elif node.op_type == "Log":
            yield from _of_log(node, script)
        elif node.op_type in ("Div", "Reciprocal") and script is None:
            source = _producer(node, 1 if node.op_type == "Div" else 0)
            if source is not None and source.op_type in ("Sqrt", "ReduceL2"):
                yield f"{_title(node)} divides by a {source.op_type} that may be 0, with nothing added"


def _of_log(node: ir.Node, script: torch.nn.Module | None) -> Iterator[str]:
    source = _producer(node, 0)
    kind = "" if source is None else source.op_type
    if kind == "Sigmoid":
        yield f"{_title(node)} is of a Sigmoid, as torch translated logsigmoid: -inf below -18"
    elif kind == "Add" and source is not None:
        kinds = [producer.op_type for at in (0, 1) if (producer := _producer(source, at)) is not None]
        if kinds == ["Exp", "Exp"]:
            yield f"{_title(node)} is of a sum of two Exp, as torch translated logaddexp: inf from 89 on"
        elif "CumSum" in kinds:
            yield f"{_title(node)} is of a CumSum, as torch translated logcumsumexp: wrong over long sequences"
    elif kind == "CumSum" and source is not None and (of := _producer(source, 0)) is not None and of.op_type == "Exp":
        yield f"{_title(node)} is of a CumSum of Exp, as torch translated logcumsumexp: wrong over long sequences"
    elif kind == "Where" and script is None and source is not None and _is_softplus(source):
        yield f"{_title(node)} is of a Softplus, which is 0 below -104, with nothing added"
    elif kind in ("Softplus", "Softmax", "Relu", "Abs", "ReduceSum", "ReduceMean") and script is None:
        yield f"{_title(node)} is of a {kind} that may be 0, with nothing added"


def _is_softplus(node: ir.Node) -> bool:
    return any((producer := _producer(node, at)) is not None and producer.op_type == "Softplus" for at in (1, 2))


def _producer(node: ir.Node, at: int) -> ir.Node | None:
    """Give the node that an input comes from, through Cast, Identity, Reshape and their like."""
    value = node.inputs[at] if at < len(node.inputs) else None
    producer = None if value is None else value.producer()
    while producer is not None and producer.op_type in _SAME:
        source = producer.inputs[0]
        producer = None if source is None else source.producer()
    return producer


_SAME: Iterable[str] = frozenset({"Cast", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def _title(node: ir.Node) -> str:
    return f'the {node.op_type} "{node.name}"' if node.name else f"a {node.op_type}"
