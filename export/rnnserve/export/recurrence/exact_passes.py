"""Making the exported graph small without changing a bit of what it computes.

torch's own optimizer stays off (`optimize=False`): it matches constants within 1e-8, so that `x + 1e-8` becomes `x` and
the logarithm after it -inf (docs/lab/findings.md, "Operators in ONNX"). What runs instead is listed here. Of
onnxscript's rules these are left out on purpose:

- add 0, subtract 0, multiply by 1, divide by 1: they match within 1e-8 and 1e-5, and -0.0 + 0.0 is 0.0;
- Min and Max to Clip, Relu and Clip to Clip, Clip of Clip: other results for nan, and where the bounds cross;
- Cast of Cast: float64 to float16 by way of float32 rounds twice;
- BatchNormalization into weights, Reshape and MatMul to MatMul: they round in another order;
- a bias of zeros left out: -0.0 + 0.0 is 0.0;
- Slices to Split, ScatterND to Identity, Pad into Conv, Reshape by an inferred shape: nothing here needs them, and they
  rely on inferred shapes;
- folding of float arithmetic: it is computed by numpy, whose last bits are not onnxruntime's. onnxruntime folds such
  constants itself when it loads the model, with the kernels that would compute them in each run.
"""

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common

from rnnserve.export.recurrence.graph_values import remove_unused
from rnnserve.export.recurrence.static_lists import lists_to_tensors
from rnnserve.export.recurrence.static_sizes import inferred_shape, reshaped_size, static_sizes

__all__ = ["simplify_exactly"]

_INTEGERS = "biu"  # numpy's kinds: bool, signed, unsigned
# Each gives elements of its inputs as they are, in another order, number or shape: the same bits in any runtime.
_MOVES = frozenset(
    {"Concat", "Expand", "Gather", "Identity", "Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
# In two's complement, in numpy as in onnxruntime. Div and Mod are not here: they round negative numbers otherwise.
_EXACT_OF_INTEGERS = frozenset({"Add", "Sub", "Mul", "Range", "ReduceProd"})
_MOST_ELEMENTS = 1024  # of what is folded: sizes, axes and indices are smaller, and the file should not grow
_END = np.iinfo(np.int64).max  # what the exporter writes for "to the end" of an axis


def simplify_exactly(model: ir.Model) -> None:
    """Fold, merge and remove what can be without a change of any value, in place."""
    # Constants as initializers, those of subgraphs included: where a tensor is stored changes nothing.
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.LiftSubgraphInitializersToMainGraphPass()(model)
    _own_tensors(model.graph)
    for graph in list(model.graphs()):
        for node in list(graph):
            known = _typed(graph, node)
            _infer_size(model.graph, known)
            if not _bypass(graph, known):
                _fold(model.graph, graph, known)
    lists_to_tensors(model)
    common.RemoveUnusedNodesPass()(model)
    # Initializers are merged where type, shape and bytes are equal: 0.0 and -0.0 stay apart.
    common.DeduplicateInitializersPass()(model)
    # The same operator with the same attributes on the same values gives the same bits. The pass compares attributes
    # by ==, which takes -0.0 for 0.0.
    if not any(map(_has_negative_zero, model.graph.all_nodes())):
        _merge_equal_nodes(model)
    remove_unused(model.graph)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)
    # An output that is an input or an initializer gets an Identity; names become unique.
    common.OutputFixPass()(model)
    common.NameFixPass()(model)


def _merge_equal_nodes(model: ir.Model) -> None:
    """Merge nodes that compute the same; an output keeps its shape if it becomes a value within a translation."""
    shapes = [value.shape for value in model.graph.outputs]
    common.CommonSubexpressionEliminationPass()(model)
    for value, shape in zip(model.graph.outputs, shapes, strict=True):
        if value.shape is None:
            value.shape = shape


def _own_tensors(graph: ir.Graph) -> None:
    """Copy initializers that are views of a protobuf message, as lifted constants are: those cannot be renamed."""
    for value in graph.initializers.values():
        if isinstance(value.const_value, ir.TensorProtoTensor):
            value.const_value = ir.Tensor(value.const_value.numpy(), dtype=value.const_value.dtype, name=value.name)


def _typed(graph: ir.Graph, node: ir.Node) -> ir.Node:
    """Make a CastLike a Cast, where the type is known: the value that it is cast like is then not needed."""
    like = node.inputs[1] if node.op_type == "CastLike" else None
    if like is None or like.dtype is None:
        return node
    result = node.outputs[0]
    replaced = ir.Value(name=result.name, type=ir.TensorType(like.dtype), shape=result.shape)
    cast = ir.node("Cast", [node.inputs[0]], {"to": like.dtype.value}, outputs=[replaced], name=node.name)
    graph.insert_before(node, cast)
    _replace(graph, node, replaced)
    return cast


def _bypass(graph: ir.Graph, node: ir.Node) -> bool:
    """Let what uses the result of a node that changes nothing use the node's input; say whether it did."""
    source = node.inputs[0] if node.inputs else None
    same = reshaped_size(node) or (source if source is not None and _changes_nothing(node, source) else None)
    if same is None or node.outputs[0].is_graph_output():
        return False
    _replace(graph, node, same)
    return True


def _changes_nothing(node: ir.Node, source: ir.Value) -> bool:
    match node.op_type:
        case "Identity":
            return True
        case "Concat":
            return len(node.inputs) == 1
        case "Cast":
            return source.dtype is not None and source.dtype.value == node.attributes["to"].as_int()
        case "Transpose":
            order = node.attributes.get("perm")
            return order is not None and list(order.as_ints()) == list(range(len(order.as_ints())))
        case "Slice":  # x[:, a:b] has a Slice of the first axis, too, from 0 to the end; h_n[-1:] of one layer is h_n
            starts, ends, axes, steps = (_elements(node, at) for at in (1, 2, 3, 4))
            if not starts or ends != [_END] * len(starts) or not set(steps) <= {1}:
                return False
            return all(_is_first(source, start, axes[at : at + 1]) for at, start in enumerate(starts))
        case _:
            return False


def _infer_size(main: ir.Graph, node: ir.Node) -> None:
    """Let a Reshape infer the only size that it would read."""
    sizes = inferred_shape(node)
    if sizes is not None:
        name = f"{node.outputs[0].name}_sizes"
        shape = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([len(sizes)]))
        shape.const_value = ir.tensor(np.array(sizes, np.int64), name=name)
        main.register_initializer(shape)
        node.replace_input_with(1, shape)


def _is_first(source: ir.Value, start: int, axis: list[int]) -> bool:
    """Whether an index is that of the first element along an axis; a negative one needs an axis of fixed size."""
    sizes = list(source.shape) if source.shape is not None else []
    if start == 0 or not axis or not -len(sizes) <= axis[0] < len(sizes):
        return start == 0
    size = sizes[axis[0]]
    return isinstance(size, int) and start == -size


def _elements(node: ir.Node, at: int) -> list[int]:
    """Give the elements of a small constant input; none where it is missing, large or not constant."""
    value = node.inputs[at] if at < len(node.inputs) else None
    constant = None if value is None else value.const_value
    return [] if constant is None or constant.size > _MOST_ELEMENTS else [int(v) for v in constant.numpy().flat]


def _fold(main: ir.Graph, graph: ir.Graph, node: ir.Node) -> None:
    """Put an initializer in the place of a node whose inputs are initializers, where numpy computes the same bits."""
    result = node.outputs[0]
    sizes = static_sizes(node)
    if sizes is not None and not result.is_graph_output():
        _put(main, graph, node, np.array(sizes, np.int64))
        return
    constants = [value.const_value for value in node.inputs if value is not None and value.const_value is not None]
    if not constants or len(constants) < len(node.inputs) or result.is_graph_output() or not _is_exact(node, constants):
        return
    feeds = {
        value.name or "": constant.numpy() for value, constant in zip(node.inputs, constants, strict=True) if value
    }
    results: Any = ReferenceEvaluator(ir.to_proto(node)).run(None, feeds)
    _put(main, graph, node, np.asarray(results[0]))


def _put(main: ir.Graph, graph: ir.Graph, node: ir.Node, array: Any) -> None:  # noqa: ANN401 - of any datatype
    """Put an initializer in a node's place."""
    result = node.outputs[0]
    folded = ir.Value(name=result.name, type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
    folded.const_value = ir.tensor(array, name=folded.name)
    folded.shape = ir.Shape(array.shape)
    _replace(graph, node, folded)
    main.register_initializer(folded)


def _is_exact(node: ir.Node, constants: list[ir.TensorProtocol]) -> bool:
    integers = all(constant.dtype.numpy().kind in _INTEGERS for constant in constants)
    small = sum(constant.size for constant in constants) <= _MOST_ELEMENTS
    if node.op_type == "Cast":
        # Integers to floats and to wider floats round to nearest, or not at all, everywhere. Floats to integers outside
        # their range do not.
        to = ir.DataType(node.attributes["to"].as_int())
        return small and (integers or (constants[0].dtype, to) == (ir.DataType.FLOAT, ir.DataType.DOUBLE))
    if node.op_type in _EXACT_OF_INTEGERS:
        return small and integers
    if node.op_type not in _MOVES:
        return False
    # Weights of any size, where the file would not hold them twice.
    last_use = all(
        value is None or len(value.uses()) == 1 or (value.const_value is not None and value.const_value.size <= 1)
        for value in node.inputs
    )
    return (small and integers) or (last_use and node.op_type != "Expand") or (small and constants[0].size <= 1)


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _has_negative_zero(node: ir.Node) -> bool:
    return any(
        attribute.type is ir.AttributeType.FLOAT and attribute.value == 0 and math.copysign(1.0, attribute.value) < 0
        for attribute in node.attributes.values()
    )
