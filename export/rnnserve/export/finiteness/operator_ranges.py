"""Rules: the range of an operator's result, from the ranges of its inputs.

A rule may give a larger range than there is, never a smaller one. An operator without a rule can give any value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from rnnserve.export.finiteness.ranges import ANY, LARGEST, Range, of_constant, product, quotient, total, union

__all__ = ["RULES", "Operands", "constant_of", "known_size"]

_MANY = 1e6
"""As how large an axis counts whose size a request chooses."""

_LARGEST_EXPONENT = 88.0  # of e, in float32


class Operands:
    """The inputs of one node.

    Attributes:
        node: The node.
        ranges: Ranges of each of its inputs; of one that is left out, zeros.
    """

    def __init__(self, node: ir.Node, ranges: Sequence[Range]) -> None:
        self.node = node
        self.ranges = ranges

    def __getitem__(self, at: int) -> Range:
        return self.ranges[at] if at < len(self.ranges) else Range(0.0, 0.0)

    def constant(self, at: int) -> np.ndarray | None:
        """An input's value, if it is a constant."""
        return constant_of(self.node.inputs[at]) if at < len(self.node.inputs) else None

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else float(attribute.value)


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """Give the value of an initializer or of a Constant node; None for any other value."""
    if value is None or value.is_graph_input():
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or node.op_type != "Constant":
        return None
    attribute = next(iter(node.attributes.values()))
    return attribute.value.numpy() if attribute.name == "value" else np.asarray(attribute.value)


def known_size(value: ir.Value | None) -> float:
    """How many values a tensor has at most."""
    if value is None or value.shape is None:
        return _MANY
    return math.prod(size if isinstance(size, int) else _MANY for size in value.shape)


def _axis_size(value: ir.Value | None, at: int) -> float:
    if value is None or value.shape is None or not -len(value.shape) <= at < len(value.shape):
        return _MANY
    size = value.shape[at]
    return size if isinstance(size, int) else _MANY


def _first(given: Operands) -> Range:
    return given[0]


def _all(given: Operands) -> Range:
    return union(given.ranges)


def _with_zeros(given: Operands) -> Range:
    return union([given[0], given[2], Range(0.0, 0.0)])


def _cast(given: Operands) -> Range:
    kind = ir.DataType(int(given.number("to", 0)))
    if not kind.is_floating_point():
        return Range(given[0].low, given[0].high)
    return given[0].within(65504.0) if kind == ir.DataType.FLOAT16 else given[0]


def _mul(given: Operands) -> Range:
    found = product(given[0], given[1])
    if given.node.inputs[0] is given.node.inputs[1]:
        return Range(0.0, found.high, found.finite)
    return found


def _pow(given: Operands) -> Range:
    base, exponent = given[0], given.constant(1)
    if exponent is None or exponent.size != 1 or not base.finite:
        return ANY
    power = float(exponent.reshape(-1)[0])
    if power <= 0 or (power != int(power) and base.low < 0):
        return ANY if power or base.low < 0 else Range(1.0, 1.0)
    if math.log10(max(base.size, 1.0)) * power > 38:
        return ANY
    high = base.size**power
    return Range(0.0 if base.low >= 0 or power % 2 == 0 else -high, high)


def _sqrt(given: Operands) -> Range:
    return given[0].map(math.sqrt) if given[0].low >= 0 else ANY


def _log(given: Operands) -> Range:
    return given[0].map(math.log) if given[0].low > 0 else ANY


def _exp(given: Operands) -> Range:
    if given[0].high > _LARGEST_EXPONENT:
        return Range(0.0, LARGEST, finite=False)
    return given[0].map(lambda x: math.exp(max(x, -745.0)))


def _abs(given: Operands) -> Range:
    return Range(0.0, given[0].size, given[0].finite)


def _clip(given: Operands) -> Range:
    low, high = (given.constant(at) for at in (1, 2))
    least = -math.inf if low is None else float(low)
    most = math.inf if high is None else float(high)
    return given[0].map(lambda x: min(max(x, least), most))


def _max(given: Operands) -> Range:
    return Range(max(r.low for r in given.ranges), max(r.high for r in given.ranges), _all(given).finite)


def _min(given: Operands) -> Range:
    return Range(min(r.low for r in given.ranges), min(r.high for r in given.ranges), _all(given).finite)


def _sum(given: Operands) -> Range:
    count = known_size(given.node.inputs[0])
    return Range(min(given[0].low, given[0].low * count), max(given[0].high, given[0].high * count), given[0].finite)


def _matmul(given: Operands) -> Range:
    """Products summed over the inner axis, by the largest sum of magnitudes where a factor is a constant."""
    first, second = given[0], given[1]
    finite = first.finite and second.finite
    for at, axis in ((1, -2), (0, -1)):
        weights = given.constant(at)
        if weights is not None and weights.ndim > 1 and finite and given.node.op_type == "MatMul":
            largest = float(np.abs(weights.astype(np.float64)).sum(axis=axis).max()) * given[1 - at].size
            return Range(-largest, largest)
    inner = max(_axis_size(given.node.inputs[0], at) for at in (-1, -2))
    if given.node.op_type == "MatMul":
        inner = min(_axis_size(given.node.inputs[0], -1), _axis_size(given.node.inputs[1], -2))
    largest = first.size * second.size * inner + (given[2].size if given.node.op_type == "Gemm" else 0.0)
    return Range(-largest, largest, finite and given[2].finite)


def _conv(given: Operands) -> Range:
    largest = given[0].size * given[1].size * known_size(given.node.inputs[1]) + given[2].size
    return Range(-largest, largest, given[0].finite and given[1].finite and given[2].finite)


def _normalized(given: Operands) -> Range:
    """Layers that divide by the root of a variance and a positive epsilon."""
    count = _axis_size(given.node.inputs[0], -1)
    if given.number("epsilon", 1e-5) <= 0 or given[0].size ** 2 * count > LARGEST:
        return ANY
    largest = math.sqrt(_MANY) * given[1].size + given[2].size
    return Range(-largest, largest, all(r.finite for r in given.ranges))


def _batch_normalized(given: Operands) -> Range:
    variance = given.constant(4)
    least = (0.0 if variance is None else float(variance.min())) + given.number("epsilon", 1e-5)
    if least <= 0:
        return ANY
    largest = (given[0].size + given[3].size) / math.sqrt(least) * given[1].size + given[2].size
    return Range(-largest, largest, all(r.finite for r in given.ranges))


def _log_softmax(given: Operands) -> Range:
    return Range(-2 * given[0].size - math.log(_MANY), 0.0, given[0].finite)


def _unit(given: Operands) -> Range:
    return Range(0.0, 1.0, given[0].finite)


def _signed_unit(given: Operands) -> Range:
    return Range(-1.0, 1.0, given[0].finite)


def _rectified(given: Operands) -> Range:
    """Activations that follow their argument above zero, and fall to a small number below it."""
    return Range(-2.0 * max(1.0, given.number("alpha", 1.0)), 2 * max(given[0].high, 0.0) + 1.0, given[0].finite)


def _softplus(given: Operands) -> Range:
    return Range(0.0, max(given[0].high, 0.0) + 1.0, given[0].finite)


def _leaky(given: Operands) -> Range:
    return union([given[0], given[0].symmetric(max(1.0, given[1].size, abs(given.number("alpha", 0.01))))])


def _recurrent(given: Operands) -> Range:
    """RNN with tanh, GRU and LSTM: gates are bounded; what is summed within them may overflow."""
    operator = given.node.op_type
    activations = given.node.attributes.get("activations")
    names = [] if activations is None else activations.as_strings()
    if operator == "RNN" and set(names) - {"Tanh"}:
        return ANY
    features = _axis_size(given.node.inputs[1], -1)
    hidden = _axis_size(given.node.inputs[2], -1)
    inner = given[0].size * given[1].size * features + max(1.0, given[5].size) * given[2].size * hidden
    finite = all(given[at].finite for at in (0, 1, 2, 3, 5, 6)) and inner + 2 * given[3].size < LARGEST
    state = max(1.0, given[5].size, given[6].size + _MANY if operator == "LSTM" else 0.0)
    return Range(-state, state, finite)


def _reduce_l2(given: Operands) -> Range:
    count = known_size(given.node.inputs[0])
    squares = given[0].size ** 2 * count
    if squares > LARGEST:
        return Range(0.0, LARGEST, finite=False)
    return Range(0.0, squares if given.node.op_type == "ReduceSumSquare" else math.sqrt(squares), given[0].finite)


def _counted(_: Operands) -> Range:
    return Range(-_MANY, _MANY)


def _filled(given: Operands) -> Range:
    value = given.node.attributes.get("value")
    return Range(0.0, 0.0) if value is None else of_constant(value.value.numpy())


_IDENTITIES = (
    "Identity Reshape Transpose Squeeze Unsqueeze Slice Gather GatherElements GatherND Expand Tile Flatten Split "
    "Dropout Compress ReverseSequence TopK ReduceMax ReduceMin ReduceMean MaxPool GlobalMaxPool GlobalAveragePool "
    "Floor Ceil Round DepthToSpace SpaceToDepth CastLike"
)
_LOGIC = (
    "Not And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual IsNaN IsInf Shape Size NonZero ArgMax ArgMin EyeLike"
)

RULES: Mapping[str, Callable[[Operands], Range]] = MappingProxyType(
    {
        **dict.fromkeys(_IDENTITIES.split(), _first),
        **dict.fromkeys(_LOGIC.split(), _counted),
        "Concat": _all,
        "Where": lambda given: union(given.ranges[1:]),
        "ScatterND": lambda given: union([given[0], given[2]]),
        "ScatterElements": lambda given: union([given[0], given[2]]),
        "Pad": _with_zeros,
        "Trilu": _with_zeros,
        "AveragePool": _with_zeros,
        "Cast": _cast,
        "Add": lambda given: total(given[0], given[1]),
        "Sub": lambda given: total(given[0], Range(-given[1].high, -given[1].low, given[1].finite)),
        "Neg": lambda given: Range(-given[0].high, -given[0].low, given[0].finite),
        "Mul": _mul,
        "Div": lambda given: quotient(given[0], given[1]),
        "Reciprocal": lambda given: quotient(Range(1.0, 1.0), given[0]),
        "Pow": _pow,
        "Sqrt": _sqrt,
        "Log": _log,
        "Exp": _exp,
        "Abs": _abs,
        "Clip": _clip,
        "Max": _max,
        "Min": _min,
        "Mean": _all,
        "Relu": lambda given: given[0].map(lambda x: max(x, 0.0)),
        "Sigmoid": _unit,
        "HardSigmoid": _unit,
        "Softmax": _unit,
        "LogSoftmax": _log_softmax,
        "Tanh": _signed_unit,
        "Erf": _signed_unit,
        "Sign": _signed_unit,
        "Sin": _signed_unit,
        "Cos": _signed_unit,
        "Softsign": lambda given: Range(-1.0, 1.0, given[0].finite and given[0].size < LARGEST),
        "Softplus": _softplus,
        **dict.fromkeys(("Elu", "Selu", "Celu", "Gelu", "Mish", "HardSwish", "ThresholdedRelu"), _rectified),
        "LeakyRelu": _leaky,
        "PRelu": _leaky,
        "ReduceSum": _sum,
        "ReduceL1": lambda given: Range(0.0, given[0].size * known_size(given.node.inputs[0]), given[0].finite),
        "ReduceL2": _reduce_l2,
        "ReduceSumSquare": _reduce_l2,
        "CumSum": lambda given: union([given[0], given[0].symmetric(_MANY)]),
        "MatMul": _matmul,
        "Gemm": _matmul,
        "Conv": _conv,
        "LayerNormalization": _normalized,
        "InstanceNormalization": _normalized,
        "GroupNormalization": _normalized,
        "BatchNormalization": _batch_normalized,
        **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
        "OneHot": lambda given: given[2],
        "Range": _counted,
        "ConstantOfShape": _filled,
    }
)
