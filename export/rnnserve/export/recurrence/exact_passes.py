"""Making the exported graph small without changing a bit of its results.

torch's own optimizer stays off (`optimize=False`) because it matches constants within 1e-8: `x + 1e-8` becomes `x`, and
the logarithm of it -inf. This file lists the passes that run instead. These
rules of onnxscript are omitted on purpose:

- add 0, subtract 0, multiply by 1, divide by 1: they match within 1e-8 and 1e-5, and -0.0 + 0.0 is 0.0.
- Min and Max to Clip, Relu and Clip to Clip, Clip of Clip: the results differ for nan, and if the bounds cross.
- Cast of Cast: float64 to float16 by way of float32 rounds twice.
- BatchNormalization into weights, Reshape and MatMul to MatMul: they round in another order.
- removing a bias of zeros: -0.0 + 0.0 is 0.0.
- folding of float arithmetic: numpy's last bits can differ from onnxruntime's. onnxruntime itself folds such constants
  when it loads the model, with the kernels that would compute them in each inference call. Weights of recurrent
  operators are the exception (`fold_weights`): the file stores them in ONNX's layout, without the steps that convert
  them.
"""

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common

from rnnserve.export.operators.graphs import NodesBefore, integers_of, remove_unused, rewrite

__all__ = ["RECURRENT", "cast_before_transposing", "fold_weights", "simplify_exactly"]

RECURRENT = ("RNN", "GRU", "LSTM")
_INTEGERS = "biu"  # numpy's kinds: bool, signed, unsigned
# These operators only change the order, number or shape of their inputs' elements, so the bits are the same in any
# runtime.
_MOVES = frozenset(
    {"Concat", "Expand", "Gather", "Identity", "Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
# In two's complement, numpy and onnxruntime agree on these. Div and Mod round negative numbers differently.
_EXACT_OF_INTEGERS = frozenset({"Add", "Sub", "Mul", "Range", "ReduceProd"})
_MOST_ELEMENTS = 1024  # in a folded constant: sizes, axes and indices are smaller, and the file should not grow
_ANY_SIZE = 1 << 62
_END = np.iinfo(np.int64).max  # the exporter writes it for "to the end" of an axis


def simplify_exactly(model: ir.Model) -> None:
    """Fold, merge and remove as much as possible without changing any value, in place."""
    from onnxscript.optimizer import fold_constants  # imported here because torch.onnx has imported it by now

    _bypass_nodes(model)
    for node in model.graph.all_nodes():
        split = node.inputs[1] if node.op_type == "SplitToSequence" and len(node.inputs) > 1 else None
        if split is not None and split.const_value is None:
            split.shape = None  # onnxscript 0.7 fails for a computed size with a known scalar shape
    # This also folds fixed sizes, casts to the same type, and lists of tensors with known parts.
    fold_constants(model, onnx_shape_inference=False, output_size_limit=_ANY_SIZE, should_fold=_is_exact)
    _bypass_nodes(model)
    for node in model.graph.all_nodes():
        _infer_size(model.graph, node)
    common.RemoveUnusedNodesPass()(model)
    # Initializers are merged if type, shape and bytes are equal, so 0.0 and -0.0 stay separate.
    common.DeduplicateInitializersPass()(model)
    _merge_equal_nodes(model)
    remove_unused(model.graph)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)
    # An output that is also an input or an initializer gets an Identity. Names become unique.
    common.OutputFixPass()(model)
    common.NameFixPass()(model)


def _bypass_nodes(model: ir.Model) -> None:
    """Remove nodes that change nothing, and turn constants into initializers."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.LiftSubgraphInitializersToMainGraphPass()(model)
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.TensorProtoTensor):  # a view of a message can't be renamed
            value.const_value = ir.Tensor(value.const_value.numpy(), dtype=value.const_value.dtype, name=value.name)
    for graph in list(model.graphs()):
        for node in list(graph):
            source = node.inputs[0] if node.inputs else None
            same = _reshaped_size(node) or (source if source is not None and _changes_nothing(node, source) else None)
            if same is not None and not node.outputs[0].is_graph_output():
                node.outputs[0].replace_all_uses_with(same)
                graph.remove(node, safe=True)


def _is_exact(node: ir.Node) -> bool:
    """Whether numpy computes the same bits from a node's constants as any runtime."""
    constants = [value.const_value for value in node.inputs if value is not None and value.const_value is not None]
    if not constants:
        return False
    integers = all(constant.dtype.numpy().kind in _INTEGERS for constant in constants)
    small = sum(constant.size for constant in constants) <= _MOST_ELEMENTS
    if node.op_type == "Cast":
        # Casts from integers to floats and to wider floats are exact or round to nearest in every runtime. Casts from
        # floats to integers aren't portable outside the integers' range.
        to = ir.DataType(node.attributes["to"].as_int())
        return small and (integers or (constants[0].dtype, to) == (ir.DataType.FLOAT, ir.DataType.DOUBLE))
    if node.op_type in _EXACT_OF_INTEGERS:
        return small and integers
    if node.op_type not in _MOVES:
        return False
    # Fold weights of any size, unless the file would then store them twice.
    last_use = all(
        value is None or len(value.uses()) == 1 or (value.const_value is not None and value.const_value.size <= 1)
        for value in node.inputs
    )
    return (small and integers) or (last_use and node.op_type != "Expand") or (small and constants[0].size <= 1)


def _changes_nothing(node: ir.Node, source: ir.Value) -> bool:
    if node.op_type == "Transpose":
        order = node.attributes.get("perm")
        return order is not None and list(order.as_ints()) == list(range(len(order.as_ints())))
    if node.op_type == "Slice":  # x[:, a:b] also slices the first axis; with one layer, h_n[-1:] is h_n
        starts, ends, axes, steps = (
            (integers_of(node.inputs[at]) or []) if at < len(node.inputs) else [] for at in (1, 2, 3, 4)
        )
        if not starts or ends != [_END] * len(starts) or not set(steps) <= {1}:
            return False
        return all(_is_first(source, start, axes[at : at + 1]) for at, start in enumerate(starts))
    return node.op_type == "Identity" or (node.op_type == "Concat" and len(node.inputs) == 1)


def _is_first(source: ir.Value, start: int, axis: list[int]) -> bool:
    """Whether an index is the first along an axis. For a negative index, the axis must have a fixed size."""
    sizes = list(source.shape) if source.shape is not None else []
    if start == 0 or not axis or not -len(sizes) <= axis[0] < len(sizes):
        return start == 0
    size = sizes[axis[0]]
    return isinstance(size, int) and start == -size


def _infer_size(main: ir.Graph, node: ir.Node) -> None:
    """Let a Reshape infer a size if it is the only size that the graph computes.

    If the reshape is possible, the result is the same, and each inference call saves a Shape and a Concat.
    """
    shape = node.inputs[1].producer() if node.op_type == "Reshape" and node.inputs[1] is not None else None
    if shape is None or shape.op_type != "Concat":
        return
    sizes: list[int] = []
    for value in shape.inputs:
        known = integers_of(value)
        if known is None and value is not None and (_is_one_entry(value.producer()) or value.shape == ir.Shape([1])):
            known = [-1]
        if known is None:
            return
        sizes += known
    if sizes.count(-1) == 1 and all(size > 0 or size == -1 for size in sizes):
        name = f"{node.outputs[0].name}_sizes"
        inferred = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([len(sizes)]))
        inferred.const_value = ir.tensor(np.array(sizes, np.int64), name=name)
        main.register_initializer(inferred)
        node.replace_input_with(1, inferred)


def _reshaped_size(node: ir.Node) -> ir.Value | None:
    """Return the single entry of a Shape if a node only turns it into a list again, after a Squeeze, else None.

    The exporter writes each size of `x.reshape(batch, steps, -1)` in this way: Shape, Squeeze, Reshape to (-1,),
    Concat.
    """
    if node.op_type != "Reshape" or integers_of(node.inputs[1]) not in ([-1], [1]) or node.inputs[0] is None:
        return None
    number = node.inputs[0].producer()
    value = number.inputs[0] if number is not None and number.op_type == "Squeeze" else None
    return value if value is not None and _is_one_entry(value.producer()) else None


def _is_one_entry(shape: ir.Node | None) -> bool:
    """Whether a node is a Shape that returns a single size."""
    if shape is None or shape.op_type != "Shape" or not {"start", "end"} <= set(shape.attributes):
        return False
    start, end = (shape.attributes[name].as_int() for name in ("start", "end"))
    return end == start + 1


def _merge_equal_nodes(model: ir.Model) -> None:
    """Merge nodes that compute the same. An output keeps its shape even if it becomes a value inside a translation."""
    if any(map(_has_negative_zero, model.graph.all_nodes())):
        return  # the pass compares attributes with ==, but -0.0 == 0.0
    shapes = [value.shape for value in model.graph.outputs]
    common.CommonSubexpressionEliminationPass()(model)
    for value, shape in zip(model.graph.outputs, shapes, strict=True):
        if value.shape is None:
            value.shape = shape


def _has_negative_zero(node: ir.Node) -> bool:
    return any(
        attribute.type is ir.AttributeType.FLOAT and attribute.value == 0 and math.copysign(1.0, attribute.value) < 0
        for attribute in node.attributes.values()
    )


def fold_weights(model: ir.Model) -> None:
    """Make W, R and B of every recurrent operator initializers, in place, if they depend on initializers only.

    They are folded at any size, together with the nodes that compute them (including weight norm and other
    parametrizations). Weights that depend on the module's inputs don't change: every inference call computes them.
    """
    graph = model.graph
    known: dict[ir.Value, np.ndarray] = {}
    for number, node in enumerate(node for node in graph.all_nodes() if node.op_type in RECURRENT):
        for position, letter in enumerate(("W", "R", "B"), 1):
            value = node.inputs[position] if position < len(node.inputs) else None
            if value is None or not _is_constant(value):
                continue
            name = f"{node.op_type}_{number}/{letter}"
            if value.producer() is not None:
                array = _evaluate(value, known)
                tensor = ir.tensor(array, name=name)
                kind, shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
                folded = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
                graph.initializers.add(folded)
                node.replace_input_with(position, folded)
            elif len(value.uses()) == 1:  # it has already been folded, under a numbered name
                del graph.initializers[value.name or ""]
                value.name = name
                graph.initializers.add(value)
    remove_unused(graph)


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    if producer is None:
        return value.const_value is not None and not value.is_graph_input()
    return all(_is_constant(source) for source in producer.inputs if source is not None)


def _evaluate(value: ir.Value, known: dict[ir.Value, np.ndarray]) -> np.ndarray:
    """Compute a constant value. `known` caches computed values."""
    node = value.producer()
    if value not in known and (value.const_value is not None or node is None):
        assert value.const_value is not None  # noqa: S101 - it is a constant
        known[value] = value.const_value.numpy()
    elif value not in known and node is not None:
        inputs = {source.name or "": _evaluate(source, known) for source in node.inputs if source is not None}
        results: Any = ReferenceEvaluator(ir.to_proto(node)).run(None, inputs)
        known.update(zip(node.outputs, results, strict=True))
    return np.ascontiguousarray(known[value])


def cast_before_transposing(model: ir.Model) -> None:
    """Swap every Transpose with the Cast after it, in place. The values stay the same.

    If MatmulTransposeFusion of onnxruntime 1.32 makes this swap itself, it causes a segmentation fault for a Transpose
    of other axes than the last two.
    """
    rewrite(model, {"Cast": _cast_first})
    remove_unused(model.graph)


def _cast_first(nodes: NodesBefore, cast: ir.Node) -> ir.Value | None:
    transpose = cast.inputs[0].producer() if cast.inputs[0] is not None else None
    if transpose is None or transpose.op_type != "Transpose" or transpose.inputs[0] is None:
        return None
    early = nodes.again(cast, transpose.inputs[0])
    early.shape = transpose.inputs[0].shape
    late = nodes.again(transpose, early)
    late.type = cast.outputs[0].type
    return late
