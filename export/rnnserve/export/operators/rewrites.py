"""What onnxruntime computes otherwise than eager, by the operator of ONNX: the nodes that are written in its place.

Maxima and minima: in eager the maximum of a row with a nan is nan, and its argmax is where the first nan is.
onnxruntime's ReduceMax, ReduceMin, ArgMax, ArgMin and MaxPool pass over it and give the largest of what they compared
last: finite, and without a word. MaxPool of -inf alone gives the lowest finite number, too.

Sigmoid is right within 7e-8, not to the last digits: sigmoid(-15) is 3.6e-7 there, 3.1e-7 in fact, and from -18 on it
is 0. As a gate, that is rounding. Under a logarithm or a division it is not: log(sigmoid(-20)) is -inf. So sigmoids
whose results reach such an operator become 1 / (1 + exp(-x)), which is right to the last digits, at three nodes more.

ReduceSum of int64 computes in float64, so that digits beyond 2 ** 53 are lost, and sums that overflow stay at the
largest integer, where PyTorch's wrap round. There is no kernel of Where for booleans, and some operators have none for
float64: a model that holds one does not load at all ("Could not find an implementation").
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.graphs import NodesBefore, Rewrite, rewrite

__all__ = ["rewrite_for_onnxruntime"]

_BOOL, _DOUBLE, _FLOAT, _INT64 = ir.DataType.BOOL, ir.DataType.DOUBLE, ir.DataType.FLOAT, ir.DataType.INT64


def rewrite_for_onnxruntime(model: ir.Model) -> None:
    """Write what onnxruntime would compute otherwise than eager so that it does not, in place."""
    rewrite(model, _REWRITES)


def _floats(value: ir.Value | None) -> ir.DataType | None:
    """Give the type of a value if it is of floats."""
    dtype = None if value is None else value.dtype
    return dtype if dtype is not None and dtype.is_floating_point() else None


def _where_nan(nodes: NodesBefore, source: ir.Value) -> ir.Value:
    return nodes.make("Cast", nodes.make("IsNaN", source), to=_FLOAT.value)


def _keep_nan(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Give nan where the reduced axes hold one."""
    source = node.inputs[0]
    dtype = _floats(source)
    if source is None or dtype is None:
        return None
    held = nodes.add(ir.node("ReduceMax", [_where_nan(nodes, source), *node.inputs[1:]], dict(node.attributes)))
    has_nan = nodes.make("Cast", held, to=_BOOL.value)
    return nodes.make("Where", has_nan, nodes.constant(np.nan, dtype), nodes.again(node))


def _find_nan(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Search rows with a nan for the nan; in the smallest's case for the smallest of its negative."""
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
    """Give nan where a window holds one, and -inf where it holds nothing else."""
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


# Through these a small number stays a small number, or is among those that are added up.
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


_HALF = 1 << 32
_SMALL = (_BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.INT32)
"""Types whose sums, of fewer than 2 ** 21 of them, float64 holds."""


def _sum_in_halves(nodes: NodesBefore, node: ir.Node) -> ir.Value | None:
    """Add the upper and the lower halves of int64 by themselves; of either float64 holds the sum."""
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
"""Without a kernel of float64 in onnxruntime 1.32, of those that a module may reach."""


def _refuse_doubles(_: NodesBefore, node: ir.Node) -> None:
    source = node.inputs[0]
    if source is not None and source.dtype == _DOUBLE:
        raise UnsupportedModule(
            f"the module computes {node.op_type} of float64, which onnxruntime has for float32 only: write .float() "
            "before it, and .double() after it where the result is needed so"
        )


_REWRITES: Mapping[str, Rewrite] = {
    **dict.fromkeys(_NOT_OF_DOUBLES, _refuse_doubles),
    "ArgMax": _find_nan,
    "ArgMin": _find_nan,
    "MaxPool": _pool_nan,
    "ReduceMax": _keep_nan,
    "ReduceMin": _keep_nan,
    "ReduceSum": _sum_in_halves,
    "Sigmoid": _sharpen,
    "Where": _choose_booleans,
}
