"""The rules: for each family of operators, how it reads the axes of its inputs, and the range of its results.

Without a rule, the analysis can't prove anything about an operator, and its results may have any value. A range may be
larger than necessary, but never too small.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from rnnserve.export.analysis import computing, moving
from rnnserve.export.analysis.flow import Node
from rnnserve.export.analysis.values import ANY, LARGEST, Range, Value, range_of, size_of, union

RangeRule = Callable[[Node], Range]
"""Returns the range of all results of a node, except those whose range the other rule computes."""
DependenceRule = Callable[[Node], Value | list[Value]]
"""Returns the record of the first result or of each result. Raises NotCovered if its dependencies aren't known."""


_MANY = 1e6
"""The assumed size of an axis if the request chooses its size."""
_LARGEST_EXPONENT = 88.0  # exp overflows float32 above this number
_ZERO = Range(0.0, 0.0)


def _given(node: Node) -> list[Range]:
    return [_ZERO if value is None else value.whole for value in node.inputs]


def _first(node: Node, at: int = 0) -> Range:
    value = node.optional(at)
    return _ZERO if value is None else value.whole


def _finite(node: Node) -> bool:
    return all(range.finite for range in _given(node))


def _size_at(value: Value | None, at: int) -> float:
    if value is None or value.shape is None or not -value.rank <= at < value.rank:
        return _MANY
    return size_of(value.shape[at]).number or _MANY


def _count(value: Value | None) -> float:
    """Return an upper bound on the number of a tensor's values."""
    return _MANY if value is None or value.shape is None else math.prod(_size_at(value, at) for at in range(value.rank))


def _rising(function: Callable[[float], float], least: float = -math.inf) -> RangeRule:
    """Make the rule of a function that never decreases. It is finite for arguments of at least `least`."""

    def rule(node: Node) -> Range:
        given = _first(node)
        return Range(function(given.low), function(given.high), given.finite) if given.low >= least else ANY

    return rule


def _within(low: float, high: float) -> RangeRule:
    """Make the rule of an operator with bounded results, which are finite for finite inputs."""
    return lambda node: Range(low, high, _finite(node))


def _input(at: int) -> RangeRule:
    """Make the rule of an operator whose results are values of one input."""
    return lambda node: _first(node, at)


def _any_of(*at: int) -> RangeRule:
    """Make the rule of an operator whose results are values of several inputs, or of all. A missing input is zeros."""
    return lambda node: union([_first(node, each) for each in at or range(len(node.inputs))])


_INTEGER_BITS = {2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 12: 32, 13: 64}
"""Sizes of integers, by their type of TensorProto."""


def _cast(node: Node) -> Range:
    given, to = _first(node), int(node.attribute("to", 0))
    if to == 10 and given.size > 65504.0:
        return Range(-math.inf, math.inf, given.finite)
    if to in (1, 10, 11, 16):
        return given
    bits = _INTEGER_BITS.get(to, 0)
    if not bits or (given.finite and given.size < 2 ** (bits - 1)):
        return Range(given.low, given.high)
    return Range(-(2.0 ** (bits - 1)), 2.0**bits)  # numbers that don't fit become any integer


def _magnitude(node: Node) -> Range:
    given = _first(node)
    is_least = given.low in {-(2.0 ** (bits - 1)) for bits in _INTEGER_BITS.values()}
    return Range(given.low if is_least else 0.0, given.size, _finite(node))  # the least integer is its own magnitude


def _total(node: Node) -> Range:
    given = _given(node)
    if node.operator == "Sub":
        given[1] = Range(-given[1].high, -given[1].low, given[1].finite)
    return Range(sum(r.low for r in given), sum(r.high for r in given), _finite(node))


def _product(node: Node) -> Range:
    """Return the range of a product. It is a square if both factors are the same tensor."""
    found = _times(_first(node), _first(node, 1))
    return Range(0.0, found.high, found.finite) if node.inputs[0] is node.inputs[1] else found


def _quotient(node: Node) -> Range:
    second = _first(node, 1 if node.operator == "Div" else 0)
    if second.low <= 0 <= second.high:
        return ANY
    dividend = _first(node) if node.operator == "Div" else Range(1.0, 1.0)
    return _times(dividend, Range(1 / second.high, 1 / second.low, second.finite))


def _times(first: Range, second: Range) -> Range:
    corners = [0.0 if 0.0 in (x, y) else x * y for x in (first.low, first.high) for y in (second.low, second.high)]
    return Range(min(corners), max(corners), first.finite and second.finite)


def _power(node: Node) -> Range:
    base, exponent = _first(node), node.inputs[1]
    number = None if exponent is None else exponent.fill
    if number is None or not base.finite or (number != int(number) and base.low < 0):
        return ANY
    if number <= 0:
        return ANY if number else Range(1.0, 1.0)
    high = base.size**number if math.log10(max(base.size, 1.0)) * number < 300 else math.inf
    return Range(0.0 if base.low >= 0 or number % 2 == 0 else -high, high)


def _exponential(node: Node) -> Range:
    given = _first(node)
    if given.high > _LARGEST_EXPONENT:
        return Range(0.0, LARGEST, finite=False)
    low, high = (math.exp(bound) if bound > -_LARGEST_EXPONENT else 0.0 for bound in (given.low, given.high))
    return Range(low, high or math.exp(-_LARGEST_EXPONENT), given.finite)


def _clipped(node: Node) -> Range:
    given, bounds = _first(node), [node.optional(1), node.optional(2)]
    if any(bound is not None and bound.fill is None for bound in bounds):
        return union(_given(node))
    attributes = node.attribute("min", -math.inf), node.attribute("max", math.inf)  # before opset 11
    least, most = (a if b is None or b.fill is None else b.fill for a, b in zip(attributes, bounds, strict=True))
    return Range(min(max(given.low, least), most), min(max(given.high, least), most), given.finite)


def _extreme(node: Node) -> Range:
    choose, given = max if node.operator == "Max" else min, _given(node)
    return Range(choose(r.low for r in given), choose(r.high for r in given), _finite(node))


def _around(node: Node) -> Range:
    """Activations at most slightly larger than their argument, and log-softmax."""
    slope = max(1.0, abs(float(node.attribute("alpha", 1.0))), _first(node, 1).size)
    most = 2 * slope * _first(node).size + math.log(_MANY)
    return Range(-most, most, _finite(node))


def _summed(node: Node) -> Range:
    """Sums over axes: of the numbers, of their magnitudes, or of their squares."""
    given, count = _first(node), _count(node.optional(0))
    if node.operator != "ReduceSum":
        return Range(0.0, max(1.0, given.size**2) * count, given.finite)
    return Range(min(given.low, given.low * count), max(given.high, given.high * count), given.finite)


def _contracted(node: Node) -> Range:
    """Sums of products over inner axes. If a factor is constant, its largest sum of magnitudes bounds the result."""
    sizes = [range.size for range in _given(node)]
    if node.operator == "Einsum":
        inner = math.prod(sizes) * math.prod(_count(value) for value in node.inputs)
        return Range(-inner, inner, _finite(node))
    largest = math.inf
    for at, axis in ((1, -2), (0, -1)):
        content = node.input(at).content
        if node.operator == "MatMul" and content is not None and content.dtype.kind == "f" and content.ndim > 1:
            sums = np.abs(content.astype(np.float64)).sum(axis=axis)
            largest = min(largest, float(sums.max(initial=0.0)) * sizes[1 - at])
    inner = min(_size_at(node.inputs[0], -1), _size_at(node.inputs[1], -2))
    if node.operator == "Gemm":
        inner = max(_size_at(node.inputs[0], at) for at in (-1, -2))
    largest = min(largest, sizes[0] * sizes[1] * inner) + sum(sizes[2:])
    return Range(-largest, largest, _finite(node))


def _convolved(node: Node) -> Range:
    largest = _first(node).size * _first(node, 1).size * _count(node.optional(1)) + _first(node, 2).size
    return Range(-largest, largest, _finite(node))


def _normalized(node: Node) -> Range:
    """Layers that divide by the root of a variance and a positive epsilon. The squares may overflow."""
    squares = _first(node).size ** 2 * _size_at(node.optional(0), -1)
    if node.attribute("epsilon", 1e-5) <= 0 or len(list(filter(None, node.results))) > 1:
        return ANY  # further results are means and deviations
    largest = math.inf if squares > LARGEST else math.sqrt(_MANY) * _first(node, 1).size + _first(node, 2).size
    return Range(-largest, largest, _finite(node))


def _batch_normalized(node: Node) -> Range:
    least = _first(node, 4).low + node.attribute("epsilon", 1e-5)
    if least <= 0 or not _first(node, 4).finite:
        return ANY
    x, scale, bias, mean = (_first(node, at).size for at in range(4))
    largest = (x + mean) / math.sqrt(least) * scale + bias
    return Range(-largest, largest, _finite(node))


def _recurrent(node: Node) -> Range:
    """RNN with tanh, GRU and LSTM have bounded gates. States of relu may overflow, and so may sums within gates."""
    x, w, r, b, h, c = (_first(node, at) for at in (0, 1, 2, 3, 5, 6))
    features, hidden = _size_at(node.optional(1), -1), _size_at(node.optional(2), -1)
    inner = x.size * w.size * features + max(1.0, h.size) * r.size * hidden + 2 * b.size
    state = max(1.0, h.size, c.size + _MANY if node.operator == "LSTM" else 0.0)
    if inner > LARGEST or (node.operator == "RNN" and set(node.attribute("activations", ["Tanh"])) - {"Tanh"}):
        state = math.inf
    return Range(-state, state, all(each.finite for each in (x, w, r, b, h, c)))


_SAME, _UNIT, _SIGNED_UNIT, _FINITE = _input(0), _within(0.0, 1.0), _within(-1.0, 1.0), _within(-math.inf, math.inf)


def _padded(node: Node) -> Range:
    value = float(node.attribute("value", 0.0))  # before opset 11
    return union([_first(node), _first(node, 2), range_of(np.array(value))])


def _with_zeros(node: Node) -> Range:
    return union([_first(node), _ZERO])


def _counted(_: Node) -> Range:
    return Range(-_MANY, _MANY)


def _any_value(_: Node) -> Range:
    return ANY


_TABLE: tuple[tuple[str, DependenceRule, RangeRule], ...] = (
    # Elementwise.
    ("Identity", computing.identity, _SAME),
    ("Dropout", computing.identity, lambda node: union([_first(node), Range(0.0, 1.0)])),  # and a mask
    ("Ceil CastLike Floor Round", computing.elementwise, _SAME),
    ("Cast", computing.elementwise, _cast),
    ("Add Sub Sum", computing.elementwise, _total),
    ("Mul", computing.elementwise, _product),
    ("Div Reciprocal", computing.elementwise, _quotient),
    ("Neg", computing.elementwise, lambda node: _times(_first(node), Range(-1.0, -1.0))),
    ("Abs", computing.elementwise, _magnitude),
    ("Max Min", computing.elementwise, _extreme),
    ("Mean", computing.elementwise, _any_of()),
    ("Where", computing.elementwise, _any_of(1, 2)),
    ("Clip", computing.elementwise, _clipped),
    ("Pow", computing.elementwise, _power),
    ("Sqrt", computing.elementwise, _rising(math.sqrt, 0.0)),
    ("Log", computing.elementwise, _rising(math.log, math.ulp(0.0))),
    ("Exp", computing.elementwise, _exponential),
    ("Relu", computing.elementwise, _rising(lambda x: max(x, 0.0))),
    ("Softplus", computing.elementwise, lambda node: Range(0.0, max(_first(node).high, 0.0) + 1.0, _finite(node))),
    ("HardSigmoid Sigmoid", computing.elementwise, _UNIT),
    ("Cos Erf Sign Sin Softsign Tanh", computing.elementwise, _SIGNED_UNIT),
    ("Atan", computing.elementwise, _within(-2.0, 2.0)),
    ("Celu Elu Gelu HardSwish Mish Selu Swish ThresholdedRelu", computing.elementwise, _around),
    ("LeakyRelu PRelu", computing.elementwise, _around),
    ("And Equal Greater GreaterOrEqual IsInf IsNaN Less", computing.elementwise, _counted),
    ("LessOrEqual Not Or Xor", computing.elementwise, _counted),
    ("BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Shrink", computing.elementwise, _FINITE),
    ("Acos Acosh Asin Asinh Atanh Cosh Mod Sinh Tan", computing.elementwise, _any_value),
    # Over axes.
    ("ReduceMax ReduceMean ReduceMin", computing.reduce, _SAME),
    ("ReduceL1 ReduceL2 ReduceSum ReduceSumSquare", computing.reduce, _summed),
    ("ReduceLogSum ReduceLogSumExp ReduceProd", computing.reduce, _any_value),
    ("ArgMax ArgMin", computing.arg_extreme, _counted),
    ("Softmax Hardmax", computing.softmax, _UNIT),
    ("LogSoftmax", computing.softmax, _around),
    ("GroupNormalization InstanceNormalization", computing.normalize, _normalized),
    ("LayerNormalization RMSNormalization", computing.normalize, _normalized),
    ("BatchNormalization", computing.normalize_batch, _batch_normalized),
    ("CumSum", computing.running_sum, lambda node: _times(_first(node), Range(0.0, _MANY))),
    ("TopK", computing.largest, _SAME),
    ("Trilu", computing.triangle, _with_zeros),
    ("Einsum Gemm MatMul", computing.contract, _contracted),
    ("MatMulInteger", computing.contract, _FINITE),  # zero points move the values
    # Over steps.
    ("GRU LSTM RNN", computing.recurrent, _recurrent),
    ("LinearAttention", computing.attend_linearly, _any_value),
    ("CausalConvWithState", computing.convolve_causally, _any_value),
    ("ReverseSequence", computing.reverse_sequence, _SAME),
    ("Conv", computing.convolve, _convolved),
    ("ConvInteger", computing.convolve, _FINITE),  # as MatMulInteger
    ("GlobalAveragePool GlobalMaxPool MaxPool", computing.pool, _SAME),
    ("AveragePool", computing.pool, _with_zeros),
    ("GlobalLpPool LpPool", computing.pool, _FINITE),
    # Moving values.
    ("Transpose", moving.transpose, _SAME),
    ("Unsqueeze", moving.unsqueeze, _SAME),
    ("Squeeze", moving.squeeze, _SAME),
    ("Expand Tile", moving.expand, _SAME),
    ("Flatten", moving.flatten, _SAME),
    ("Reshape", moving.reshape, _SAME),
    ("Concat", moving.concat, _any_of()),
    ("Split", moving.split, _SAME),
    ("Slice", moving.slice_, _SAME),
    ("Pad", moving.pad, _padded),
    ("Gather", moving.gather, _SAME),
    ("GatherElements", moving.gather_elements, _SAME),
    ("GatherND", moving.gather_nd, _SAME),
    ("OneHot", moving.one_hot, _input(2)),
    ("Compress DepthToSpace SpaceToDepth", moving.unknown, _SAME),
    ("ConvTranspose", moving.unknown, _convolved),
    ("Scatter ScatterElements ScatterND", moving.unknown, _any_of(0, 2)),
    ("EyeLike NonZero", moving.unknown, _counted),
    # Sizes.
    ("Shape Size", moving.shape, _counted),
    ("Constant", moving.constant_node, _any_value),
    ("ConstantOfShape", moving.constant_of_shape, lambda node: range_of(np.asarray(node.attribute("value", 0.0)))),
    ("Range", moving.range_, _counted),
)

RULES: Mapping[str, tuple[DependenceRule, RangeRule]] = {
    operator: (dependences, range) for operators, dependences, range in _TABLE for operator in operators.split()
}
"""Rules by operator, for ONNX's own domain."""
