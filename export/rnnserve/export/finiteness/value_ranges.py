"""Bounding every value of a graph, from the inputs on: which can be NaN or infinite though the inputs are finite.

Inputs are taken to be no larger than 1e12: sums of products of larger ones may overflow, which is not looked for.
"""

from collections.abc import Collection, Sequence

import onnx_ir as ir

from rnnserve.export.finiteness.operator_ranges import RULES, Operands, constant_of
from rnnserve.export.finiteness.ranges import ANY, LARGEST, Range, of_constant, union

__all__ = ["ValueRanges", "swallows"]

_INPUT = Range(-1e12, 1e12)
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
_ROUNDS = 4
"""Runs through the body of a loop, with wider states each, until its states stay within what they began with."""


class ValueRanges:
    """The ranges of all values of a model, those within the bodies of its loops included."""

    def __init__(self, graph: ir.Graph, *, finite_inputs: bool, infinite: Collection[str] = ()) -> None:
        """Walk a graph.

        Args:
            graph: Sorted, as every valid one is.
            finite_inputs: Whether the floats of the inputs are finite, as servers see to.
            infinite: Names of inputs that are not: states that begin with infinity.
        """
        self._ranges: dict[ir.Value, Range] = {}
        for value in graph.inputs:
            is_finite = finite_inputs and value.name not in infinite
            self._ranges[value] = (_INPUT if is_finite else ANY) if value.dtype in _FLOATS else _INPUT
        self._walk(graph)

    def of(self, value: ir.Value | None) -> Range:
        """The range of a value; of an input of a node that is left out, zeros."""
        if value is None:
            return Range(0.0, 0.0)
        if value not in self._ranges:
            constant = constant_of(value)
            self._ranges[value] = ANY if constant is None else of_constant(constant)
        return self._ranges[value]

    def _walk(self, graph: ir.Graph) -> None:
        for node in graph:
            found = self._results(node)
            for output, range in zip(node.outputs, found, strict=True):
                known = Range(range.low, range.high) if output.dtype and output.dtype not in _FLOATS else range
                self._ranges[output] = known.within(LARGEST)

    def _results(self, node: ir.Node) -> Sequence[Range]:
        if node.op_type == "Constant":
            return [of_constant(array) if (array := constant_of(node.outputs[0])) is not None else ANY]
        if node.op_type == "Scan":
            return self._scan(node)
        if node.op_type == "If":
            branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
            for branch in branches:
                self._walk(branch)
            outputs = zip(*(branch.outputs for branch in branches), strict=True)
            return [union(map(self.of, pair)) for pair in outputs]
        if node.op_type == "Loop":
            body = node.attributes["body"].as_graph()
            self._ranges.update(dict.fromkeys(body.inputs, ANY))
            self._walk(body)
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        found = ANY if rule is None else rule(Operands(node, [self.of(value) for value in node.inputs]))
        return [found] * len(node.outputs)

    def _scan(self, node: ir.Node) -> Sequence[Range]:
        """Walk the body until the states stay within the ranges that they had before it; else they can be anything."""
        body, given = node.attributes["body"].as_graph(), [self.of(value) for value in node.inputs]
        count = len(given) - node.attributes["num_scan_inputs"].as_int()
        states = given[:count]
        for round in range(_ROUNDS + 1):
            self._ranges.update(zip(body.inputs, [*states, *given[count:]], strict=True))
            self._walk(body)
            after = [self.of(value) for value in body.outputs[:count]]
            wider = [union(pair) for pair in zip(states, after, strict=True)]
            if wider == states:
                break
            # What still grows after some rounds is taken to grow on.
            states = [
                ANY if round == _ROUNDS - 1 and new != old else new for old, new in zip(states, wider, strict=True)
            ]
        return [self.of(value) for value in body.outputs]


def swallows(node: ir.Node) -> bool:
    """Whether onnxruntime's kernel makes finite numbers of NaN: GRU, LSTM, and RNN with relu do, but not with tanh."""
    if node.op_type not in ("RNN", "GRU", "LSTM"):
        return False
    activations = node.attributes.get("activations")
    return node.op_type != "RNN" or (activations is not None and set(activations.as_strings()) != {"Tanh"})
