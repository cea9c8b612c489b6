"""Operators that onnxruntime has for float32 and not for float64: written out where that is exact, refused elsewhere.

A model that holds one does not load at all ("Could not find an implementation").
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from rnnserve.export.errors import UnsupportedModule

__all__ = ["write_out_doubles"]

_MISSING = frozenset(
    {
        *(
            "Acos",
            "Acosh",
            "Asin",
            "Asinh",
            "Atan",
            "Atanh",
            "AveragePool",
            "Celu",
            "ConvTranspose",
            "Cosh",
            "Erf",
            "Gelu",
        ),
        *("GlobalAveragePool", "HardSigmoid", "HardSwish", "InstanceNormalization", "LpPool", "Mish", "PRelu", "Selu"),
        *("Shrink", "Sinh", "Softsign", "Tan", "ThresholdedRelu"),
    }
)
"""Without a kernel of float64 in onnxruntime 1.32, of those that a module may reach."""


def write_out_doubles(model: ir.Model) -> None:
    """Replace operators that onnxruntime lacks for float64, in place.

    Raises:
        UnsupportedModule: If there is one that has no other form; the message names it.
    """
    for graph in list(model.graphs()):
        for node in list(graph):
            source = node.inputs[0] if node.inputs else None
            if source is None or source.dtype != ir.DataType.DOUBLE:
                continue
            if node.op_type in _WRITTEN_OUT:
                _replace(graph, node, source)
            elif node.op_type in _MISSING:
                raise UnsupportedModule(
                    f"the module computes {node.op_type} of float64, which onnxruntime has for float32 only: write "
                    ".float() before it, and .double() after it where the result is needed so"
                )


class _Writer:
    """Adds nodes before another one, all of float64."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self.graph, self.before, self.number = graph, before, 0

    def __call__(self, operator: str, *inputs: ir.Value, boolean: bool = False) -> ir.Value:
        dtype = ir.DataType.BOOL if boolean else ir.DataType.DOUBLE
        return self._add(ir.node(operator, list(inputs)), dtype)

    def number_of(self, value: float) -> ir.Value:
        """Make a constant."""
        return self._add(ir.node("Constant", [], {"value": ir.tensor(np.array(value, np.float64))}), ir.DataType.DOUBLE)

    def _add(self, node: ir.Node, dtype: ir.DataType) -> ir.Value:
        result = node.outputs[0]
        result.name, result.type = f"{self.before.outputs[0].name}/double_{self.number}", ir.TensorType(dtype)
        self.number += 1
        self.graph.insert_before(self.before, node)
        return result


def _softplus(write: _Writer, x: ir.Value, node: ir.Node) -> ir.Value:
    """Write max(x, 0) + log(1 + exp(-|x|)), the logarithm by Kahan's form: small results keep their digits."""
    del node
    one = write.number_of(1.0)
    power = write("Exp", write("Neg", write("Abs", x)))
    sum_of = write("Add", power, one)
    accurate = write("Mul", write("Log", sum_of), write("Div", power, write("Sub", sum_of, one)))
    rest = write("Where", write("Equal", sum_of, one, boolean=True), power, accurate)
    return write("Add", write("Max", x, write.number_of(0.0)), rest)


def _leaky_relu(write: _Writer, x: ir.Value, node: ir.Node) -> ir.Value:
    slope = write.number_of(_alpha(node, 0.01))
    return write("Where", write("Less", x, write.number_of(0.0), boolean=True), write("Mul", x, slope), x)


def _elu(write: _Writer, x: ir.Value, node: ir.Node) -> ir.Value:
    less_one = write("Sub", write("Exp", x), write.number_of(1.0))
    negative = write("Mul", less_one, write.number_of(_alpha(node, 1.0)))
    return write("Where", write("Less", x, write.number_of(0.0), boolean=True), negative, x)


def _alpha(node: ir.Node, default: float) -> float:
    return node.attributes["alpha"].as_float() if "alpha" in node.attributes else default


_WRITTEN_OUT: dict[str, Callable[[_Writer, ir.Value, ir.Node], ir.Value]] = {
    "Elu": _elu,
    "LeakyRelu": _leaky_relu,
    "Softplus": _softplus,
}


def _replace(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    result = node.outputs[0]
    found = _WRITTEN_OUT[node.op_type](_Writer(graph, node), source, node)
    name, found.shape = result.name, result.shape
    result.name = None
    found.name = name
    result.replace_all_uses_with(found, replace_graph_outputs=True)
    graph.remove(node, safe=True)
