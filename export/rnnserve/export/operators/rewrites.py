"""Replacements for ONNX operators that onnxruntime computes differently from eager.

Maxima and minima: in eager, the maximum of a row with a nan is nan, and its argmax is the position of the first nan.
onnxruntime's ReduceMax, ReduceMin, ArgMax, ArgMin and MaxPool skip the nan without an error and return the largest of
the values compared last, which is finite. For a window of only -inf, MaxPool returns the lowest finite number.

onnxruntime's Sigmoid is accurate to 7e-8 but not to the last digits: sigmoid(-15) is 3.6e-7 instead of 3.1e-7, and from
-18 on it is 0. In a gate this is only rounding, but in a logarithm or a division it matters: log(sigmoid(-20)) is -inf.
So if a sigmoid's result reaches such an operator, it becomes 1 / (1 + exp(-x)). This is accurate to the last digits and
needs three more nodes.

onnxruntime computes ReduceSum of int64 in float64. Digits beyond 2 ** 53 are lost, and overflowing sums stay at the
largest integer, but PyTorch's wrap around. onnxruntime has no kernel for Where of booleans, and for some operators it
has none for float64. A model that uses any of these doesn't load ("Could not find an implementation").

Axes may be empty, for example in `x[x > 0]` and `x[:, 1:]`. For no values, onnxruntime returns 0 as the mean (eager
returns nan) and some number as the maximum (eager raises an error). A loop over no steps or no rows ends the process:
Scan ends it with SIGFPE because it divides by the size of a step, and GRU with SIGABRT because it allocates as many
bytes as a row has. So an inserted node makes the request fail, and the name of this node contains the reason.

A convolution of a state and the steps after it, `conv(torch.cat([state, x], -1))`, computes one step more, which is
dropped: onnxruntime computes a single step by another kernel, with other last bits than the same step of a sequence.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnserve.common.refusing_nodes import refusing_name
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.graphs import NodesBefore, Rewrite, rewrite

_BOOL, _DOUBLE, _FLOAT, _INT64 = ir.DataType.BOOL, ir.DataType.DOUBLE, ir.DataType.FLOAT, ir.DataType.INT64


def rewrite_for_onnxruntime(model: ir.Model) -> None:
    """Replace operators that onnxruntime computes differently from eager, in place."""
    rewrite(model, _REWRITES)


def _floats(value: ir.Value | None) -> ir.DataType | None:
    """Return the type of a value if it is a float type, else None."""
    dtype = None if value is None else value.dtype
    return dtype if dtype is not None and dtype.is_floating_point() else None


def _where_nan(nodes: NodesBefore, source: ir.Value) -> ir.Value:
    return nodes.make("Cast", nodes.make("IsNaN", source), to=_FLOAT.value)


def _keep_nan(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Return nan if the reduced axes contain a nan."""
    source = node.inputs[0]
    dtype = _floats(source)
    if source is None or dtype is None:
        return None
    held = nodes.add(ir.node("ReduceMax", [_where_nan(nodes, source), *node.inputs[1:]], dict(node.attributes)))
    has_nan = nodes.make("Cast", held, to=_BOOL.value)
    return nodes.make("Where", has_nan, nodes.constant(np.nan, dtype), nodes.again(node))


def _find_nan(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Search rows with a nan for the nan instead of the largest or smallest value."""
    source = node.inputs[0]
    dtype = _floats(source)
    if source is None or dtype is None:
        return None
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    is_nan = _where_nan(nodes, source)
    held = nodes.make("ReduceMax", is_nan, nodes.constant([axis], _INT64), keepdims=1)
    marks = nodes.make("Cast", is_nan, to=dtype.value)
    if node.op_type == "ArgMin":
        marks = nodes.make("Neg", marks)
    searched = nodes.make("Where", nodes.make("Cast", held, to=_BOOL.value), marks, source)
    searched.type, searched.shape = ir.TensorType(dtype), source.shape
    return nodes.again(node, searched)


def _pool_nan(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Return nan if a window contains a nan, and -inf if it contains only -inf."""
    source = node.inputs[0]
    dtype = _floats(source)
    if source is None or dtype is None:
        return None
    held = nodes.again(node, _where_nan(nodes, source))
    held.type = ir.TensorType(_FLOAT)
    plain = nodes.again(node)
    is_lowest = nodes.make("Equal", plain, nodes.constant(np.finfo(dtype.numpy()).min, dtype))
    with_inf = nodes.make("Where", is_lowest, nodes.constant(-np.inf, dtype), plain)
    has_nan = nodes.make("Greater", held, nodes.constant(0.0, _FLOAT))
    return nodes.make("Where", has_nan, nodes.constant(np.nan, dtype), with_inf)


# These operators keep a small number small, or add it to others.
_PASSES = frozenset(
    {
        *("Abs", "Add", "Cast", "Clip", "Concat", "CumSum", "Div", "Expand", "Gather", "Identity", "Max", "Mean"),
        *("Min", "Mul", "Neg", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Scan"),
        *("Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where"),
    }
)
_AMPLIFIES = frozenset({"Log", "Reciprocal", "Pow", "ReduceLogSum"})


def _sharpen(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Write out a sigmoid that a logarithm, a division or a power uses, or that weighs its input: x * sigmoid(x)."""
    source, result = node.inputs[0], node.outputs[0]
    uses = list(result.uses())
    is_silu = bool(uses) and all(user.op_type == "Mul" and source in user.inputs for user, _ in uses)
    if source is None or not (is_silu or _is_amplified(result)):
        return None
    one = nodes.constant(1.0, result.dtype or source.dtype or _FLOAT)
    total = nodes.make("Add", nodes.make("Exp", nodes.make("Neg", source)), one)
    return nodes.make("Div", one, total)


def _is_amplified(value: ir.Value) -> bool:
    waiting, seen = [value], {value}
    while waiting:
        for user, position in waiting.pop().uses():
            if user.op_type in _AMPLIFIES or (user.op_type == "Div" and position == 1):
                return True
            new = [output for output in user.outputs if user.op_type in _PASSES and output not in seen]
            seen.update(new)
            waiting.extend(new)
    return False


def _convolve_more(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Convolve one step more, before the first, if an input with a fixed number of steps is placed before the steps."""
    joined = _untransposed(node.inputs[0]).producer()
    if joined is None or joined.op_type != "Concat" or any(each != 1 for each in node.attributes["strides"].as_ints()):
        return None
    state = joined.inputs[0]
    pads = node.attributes["pads"].as_ints()
    if len(pads) != 2 or state is None or state.shape is None or not _untransposed(state).is_graph_input():
        return None
    if not isinstance(state.shape[joined.attributes["axis"].as_int()], int):
        return None
    attributes = {**node.attributes, "pads": ir.AttrInt64s("pads", [pads[0] + 1, pads[1]])}
    more = nodes.add(ir.node("Conv", node.inputs, attributes))
    return nodes.make("Slice", more, *(nodes.constant([number], _INT64) for number in (1, _TO_THE_END, 2)))


def _untransposed(value: ir.Value | None) -> ir.Value:
    """Return the value from which Transposes make a value."""
    assert value is not None  # noqa: S101 - a Conv has its first input, and so has a Transpose
    producer = value.producer()
    return _untransposed(producer.inputs[0]) if producer is not None and producer.op_type == "Transpose" else value


_TO_THE_END = 2**63 - 1
_HALF = 1 << 32
_SMALL = (_BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.INT32)
"""float64 holds the sum of fewer than 2 ** 21 values of these types."""


def _sum_in_halves(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Add the upper and the lower halves of int64 separately, because float64 holds each of the two sums."""
    source = node.inputs[0]
    if source is None or source.dtype != _INT64 or _is_small(source):
        return None
    half = nodes.constant(_HALF, _INT64)
    upper = nodes.make("Div", source, half)
    lower = nodes.make("Sub", source, nodes.make("Mul", upper, half))
    upper, lower = nodes.again(node, upper), nodes.again(node, lower)
    return nodes.make("Add", nodes.make("Mul", upper, half), lower)


def _is_small(value: ir.Value) -> bool:
    producer = value.producer()
    before = None if producer is None or producer.op_type != "Cast" else producer.inputs[0]
    return before is not None and before.dtype in _SMALL


def _choose_booleans(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Write Where(c, x, y) of booleans as (c and x) or (y and not c)."""
    condition, first, second = node.inputs
    if condition is None or first is None or second is None or node.outputs[0].dtype != _BOOL:
        return None
    chosen = nodes.make("And", condition, first)
    return nodes.make("Or", chosen, nodes.make("And", nodes.make("Not", condition), second))


_NOT_OF_DOUBLES = (
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "Celu", "ConvTranspose", "Cosh", "Elu", "Erf"),
    *("Gelu", "GlobalAveragePool", "HardSigmoid", "HardSwish", "InstanceNormalization", "LeakyRelu", "LpPool", "Mish"),
    *("PRelu", "Selu", "Shrink", "Sinh", "Softplus", "Softsign", "Tan", "ThresholdedRelu"),
)
"""Operators that a module may use, for which onnxruntime 1.32 has no float64 kernel."""


def _refuse_doubles(_: NodesBefore, node: ir.Node) -> None:
    source = node.inputs[0]
    if source is not None and source.dtype == _DOUBLE:
        raise UnsupportedModule(
            f"the module computes {node.op_type} in float64, but onnxruntime supports only float32. Write .float() "
            "before it and, if you need float64 afterwards, .double() after it"
        )


_REWRITES: Mapping[str, Rewrite] = {
    **dict.fromkeys(_NOT_OF_DOUBLES, _refuse_doubles),
    "ArgMax": _find_nan,
    "ArgMin": _find_nan,
    "MaxPool": _pool_nan,
    "Conv": _convolve_more,
    "ReduceMax": _keep_nan,
    "ReduceMin": _keep_nan,
    "ReduceSum": _sum_in_halves,
    "Sigmoid": _sharpen,
    "Where": _choose_booleans,
}


MayBeEmpty: TypeAlias = Callable[[int | ir.SymbolicDim], bool]
"""Whether a size of the graph may be 0 in a request."""

_REFUSED = {
    "ReduceMax": "the largest of no values",
    "ReduceMin": "the smallest of no values",
    "ReduceMean": "the mean of no values",
    "ArgMax": "the index of the largest of no values",
    "ArgMin": "the index of the smallest of no values",
    "GRU": "a GRU over no steps, or of no rows",
    "LSTM": "an LSTM over no steps, or of no rows",
    "RNN": "an RNN over no steps",
    "Scan": "a running result over no steps, or of no rows",
    "ConvTranspose": "a transposed convolution of no steps",
}
"""Operators that onnxruntime computes differently from eager for no values, with words for clients."""


def guard_empty_axes(model: ir.Model, may_be_empty: MayBeEmpty) -> None:
    """Make operators fail when an axis that they compute over is empty, in place."""
    rewrite(model, dict.fromkeys(_REFUSED, functools.partial(_guard, may_be_empty, _shapes(model))))


def _guard(may_be_empty: MayBeEmpty, shapes: Mapping[str, ir.Shape], nodes: NodesBefore, node: ir.Node) -> None:
    at = len(node.inputs) - node.attributes["num_scan_inputs"].as_int() if node.op_type == "Scan" else 0
    over = node.inputs[at]
    shape = None if over is None else over.shape or shapes.get(over.name or "")
    if shape is not None:
        empty = [axis for axis in _axes_over(node, len(shape)) if may_be_empty(shape[axis])]
        if empty:
            refuse_empty(nodes.graph, node, at, np.isin(np.arange(len(shape)), empty), _REFUSED[node.op_type])


def _shapes(model: ir.Model) -> Mapping[str, ir.Shape]:
    """Infer shapes by value name, on a copy, because the exporter omits shapes inside translations."""
    copy = model.clone()
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
    return {
        value.name: value.shape
        for graph in copy.graphs()
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs))
        if value.name is not None and value.shape is not None
    }


def _axes_over(node: ir.Node, rank: int) -> Sequence[int]:
    """Return the axes over which a node computes."""
    if node.op_type in ("GRU", "LSTM"):
        return [0, 1]
    if node.op_type == "RNN":
        return [0]
    if node.op_type == "Scan":  # a Scan also fails without rows
        return range(rank)
    if node.op_type == "ConvTranspose":
        return range(2, rank)
    if node.op_type in ("ArgMax", "ArgMin"):
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return [axis % rank] if rank else []
    given = _number_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return [int(axis) % rank for axis in given.numpy().ravel()] if given is not None and given.size else range(rank)


def _number_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the constant behind the axes, which some translations reshape."""
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type in ("Reshape", "Identity"):
        return _number_of(producer.inputs[0])
    return None if value is None else ir.convenience.get_const_tensor(value)


def refuse_empty(graph: ir.Graph, node: ir.Node, at: int, refused: npt.NDArray[np.bool_], why: str) -> None:
    """Insert a node that fails if any refused axis is empty. It reshapes the input to at least 1 along these axes."""
    source = node.inputs[at]
    assert source is not None  # noqa: S101 - its shape is known
    maker = NodesBefore(graph, node, f"{node.outputs[0].name}/input_{at}_of_some")
    sizes = maker.make("Max", maker.make("Shape", source), maker.constant(refused, _INT64))
    some = ir.node("Reshape", [source, sizes], {"allowzero": 1})
    some.name = refusing_name(why, f"{node.outputs[0].name}/{at}")
    some.outputs[0].type, some.outputs[0].shape = source.type, source.shape
    node.replace_input_with(at, maker.add(some))
