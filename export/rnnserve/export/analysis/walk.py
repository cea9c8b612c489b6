"""Walking a graph node by node, into its loops and branches: one record per value."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from rnnserve.export.analysis.contents import with_content
from rnnserve.export.analysis.flow import Node
from rnnserve.export.analysis.loops import joined, scan
from rnnserve.export.analysis.sizes import Size, named
from rnnserve.export.analysis.table import RULES
from rnnserve.export.analysis.values import (
    ANY,
    BY_NUMBER,
    COMPUTES,
    NUMBERS,
    Columns,
    Key,
    NotCovered,
    Range,
    Reason,
    Value,
    constant,
    join,
    plain,
)

READING = ("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND")
"""Operators that read or write at indices, which are their second input."""
_KEEPING = (  # operators by which graphs make indices: of numbers, their results are numbers still
    *("Add", "Cast", "CastLike", "Concat", "Expand", "Flatten", "Identity", "Mul", "Neg", "Reshape", "Slice", "Split"),
    *("Squeeze", "Sub", "Tile", "TopK", "Transpose", "Unsqueeze", "If", "Loop", "Scan"),
)
_ONNX_DOMAINS = ("", "ai.onnx")
_LARGEST_INPUT = 1e12  # sums of products of larger ones may overflow, which is not looked for
_UNCOVERED = (NotCovered, ArithmeticError, LookupError, StopIteration, TypeError, ValueError)  # files may hold anything


class Walk:
    """A walk through a model.

    Attributes:
        values: What is known of each value, those within the bodies of loops and branches included.
    """

    def __init__(self, model: ir.Model, keys: Sequence[Key] = (), *, overflows: bool = False) -> None:
        """Prepare a walk.

        Args:
            model: The graph.
            keys: Properties that are decided of each value.
            overflows: Whether what may leave the range of its datatype counts as not finite.
        """
        self._model = model
        self._keys = keys
        self._overflows = overflows
        self._uncovered: dict[str, str] = {}  # by the path of a body, its first node that no rule covers
        self._functions = {name for _, name, _ in model.functions}
        opsets = model.graph.opset_imports
        self._opset = max((version for domain, version in opsets.items() if domain in _ONNX_DOMAINS), default=0)
        self.values: dict[ir.Value, Value] = {}

    def run(self, inputs: Mapping[str, Value]) -> "Walk":
        """Walk the graph, given what is known of its inputs by name. Returns itself."""
        for value in self._model.graph.inputs:
            self.values[value] = inputs.get(value.name or "") or Value(None, range=ANY)
        self._graph(self._model.graph, "")
        return self

    def of(self, value: ir.Value | None) -> Value:
        """What is known of a value. An input that a node leaves out is zeros."""
        return Value(None, range=Range(0.0, 0.0)) if value is None else self.values.get(value, Value(None, range=ANY))

    def by_name(self) -> dict[str, Value]:
        """What is known of the values of the main graph, by name."""
        graph = self._model.graph
        known = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
        return {value.name: self.values[value] for value in known if value.name and value in self.values}

    def _graph(self, graph: ir.Graph, path: str) -> None:
        for value in graph.initializers.values():
            if value.const_value is not None and not value.is_graph_input():
                self.values[value] = constant(value.const_value.numpy(), value.name or "")
        for each in graph:
            node = self._node(each, path)
            known = self.of_node(each, node, path)
            for value, found in zip(each.outputs, known, strict=True):
                self.values[value] = self._completed(each, node, value, with_content(node, found))

    def _node(self, node: ir.Node, path: str) -> Node:
        attributes = {attribute.name: _python_value(attribute) for attribute in node.attributes.values()}
        title = f'{node.op_type} "{path}{_name(node)}"'
        names = [value.name or "" for value in node.outputs]
        empty = Node(node.op_type, title, (), names, attributes, self._keys, self._opset)
        inputs = [None if value is None else self.values.get(value) or empty.undecided() for value in node.inputs]
        return with_numbers(dataclasses.replace(empty, inputs=inputs))

    def of_node(self, each: ir.Node, node: Node, path: str) -> list[Value]:
        """Give what is known of each result of a node.

        Args:
            each: The node in its graph.
            node: The node as rules see it.
            path: Path of its graph in the model, which is empty for the model's.
        """
        try:
            found = self._by_rule(each, node, path)
        except _UNCOVERED:
            inner = self._uncovered.get(f"{path}{_name(each)}/", node.title)
            self._uncovered.setdefault(path, inner)
            return [dataclasses.replace(node, title=inner).undecided()] * len(each.outputs)
        return found[: len(each.outputs)] if len(found) >= len(each.outputs) else [node.undecided()] * len(each.outputs)

    def _by_rule(self, each: ir.Node, node: Node, path: str) -> list[Value]:
        if each.domain not in _ONNX_DOMAINS or each.op_type in self._functions:
            raise NotCovered
        inside = f"{path}{_name(each)}/"
        if each.op_type == "If":
            return self._branches(node, inside)
        if each.op_type in ("Loop", "Scan"):
            return self._loop(node, inside)
        if each.op_type not in RULES:
            raise NotCovered
        found = RULES[each.op_type].dependences(node)
        return found if isinstance(found, list) else [found]

    def _branches(self, node: Node, path: str) -> list[Value]:
        """Walk both branches: results are those of the one that is surely taken, or of either."""
        made = {}
        for name in ("then_branch", "else_branch"):
            self._graph(node.attribute(name), f"{path}{name}/")
            made[name] = [self.of(value) for value in node.attribute(name).outputs]
        condition = node.input(0)
        branches = [made[name] for name in ([taken(condition)] if taken(condition) else made)]
        results = [joined(node, values) for values in zip(*branches, strict=True)]
        return [
            dataclasses.replace(each, tracks={key: join([each.track(key), condition.track(key)]) for key in self._keys})
            for each in results
        ]

    def _loop(self, node: Node, path: str) -> list[Value]:
        body: ir.Graph = node.attribute("body")

        def walk(inputs: Sequence[Value]) -> list[Value]:
            for value, known in zip(body.inputs, inputs, strict=True):
                self.values[value] = dataclasses.replace(known, name=value.name or "")
            self._graph(body, path)
            return [self.of(value) for value in body.outputs]

        try:
            return scan(node, path, walk, overflows=self._overflows)
        except _UNCOVERED:  # nothing is known of a Loop, either
            uncovered = dict(self._uncovered)
            walk([dataclasses.replace(node.undecided(), range=ANY)] * len(body.inputs))
            self._uncovered = uncovered
            raise NotCovered from None

    def _completed(self, each: ir.Node, node: Node, value: ir.Value, known: Value) -> Value:
        """Complete the record of a result."""
        range, has_rule = known.range, each.op_type in RULES and each.domain in _ONNX_DOMAINS
        if range is None and has_rule and each.op_type not in self._functions:
            try:
                range = RULES[each.op_type].range(node)
            except _UNCOVERED:
                range = ANY
        range = range or ANY
        if value.dtype is not None and not value.dtype.is_floating_point():
            range = Range(range.low, range.high)
        return dataclasses.replace(known, range=range.within(overflows=self._overflows), name=value.name or "")


def _name(node: ir.Node) -> str:
    return node.name or next((value.name for value in node.outputs if value.name), "")


def _python_value(attribute: ir.Attr) -> Any:  # noqa: ANN401 - a number, a string, an array, a graph, …
    value = attribute.value
    return value.numpy() if isinstance(value, ir.TensorProtocol) else value


def taken(condition: Value) -> str:
    """Name the attribute with the branch of an If that is surely taken. It is empty if that depends on values."""
    if condition.few is None or condition.few.dtype == object:
        return ""
    return "then_branch" if bool(np.any(condition.few)) else "else_branch"


def declared_inputs(graph: ir.Graph, *, finite: bool, infinite: Collection[str] = ()) -> dict[str, Value]:
    """Give what is known of a graph's inputs from the file alone: their shapes, and whether they are finite.

    Args:
        graph: The graph.
        finite: Whether no float of the inputs is NaN or infinite.
        infinite: Names of inputs that are not finite even so.
    """
    known = {}
    for value in graph.inputs:
        name, sizes = value.name or "", None if value.shape is None else enumerate(value.shape)
        shape = None if sizes is None else plain([_size(size, f"{name}.{at}") for at, size in sizes])
        is_finite = (finite and name not in infinite) or not (value.dtype is None or value.dtype.is_floating_point())
        known[name] = Value(shape, range=input_range(is_finite=is_finite))
    return known


def _size(size: int | ir.SymbolicDim, otherwise: str) -> int | Size:
    return size if isinstance(size, int) else named(size.value or otherwise)


def input_range(*, is_finite: bool) -> Range:
    """Give the range of an input of the graph."""
    return Range(-_LARGEST_INPUT, _LARGEST_INPUT) if is_finite else ANY


def with_numbers(node: Node) -> Node:
    """Give a node as what it does with numbers of rows, or of steps, says it.

    If they are indices of what lies along these rows, each row may be read in its place: so graphs put rows back that
    were sorted. Whatever else is computed with them, such as a comparison, may give each row another result by its
    number, and so does a table from which each row takes the entry of its number.
    """
    inputs = [None if value is None else _read_numbers(node, at, value) for at, value in enumerate(node.inputs)]
    return dataclasses.replace(node, inputs=inputs)


def _read_numbers(node: Node, at: int, value: Value) -> Value:
    if not any(reason.sentence == NUMBERS for track in value.tracks.values() for reason in track.undecided):
        return value
    tracks = {}
    for key, track in value.tracks.items():
        does = _does(node, at, key)
        said = (Reason(each.node, does) if each.sentence == NUMBERS else each for each in track.undecided)
        tracks[key] = dataclasses.replace(track, undecided=tuple(dict.fromkeys(said)))
    pattern = value.pattern
    if isinstance(pattern, Columns):
        pattern = Columns(tuple(_read_numbers(node, at, part) for part in pattern.parts))
    return dataclasses.replace(value, tracks=tracks, pattern=pattern)


def _does(node: Node, at: int, key: Key) -> str:
    """Say what a node does with numbers that are one of its inputs."""
    if node.operator in READING:
        data = node.inputs[0]
        if at != 1:
            return NUMBERS
        return COMPUTES if data is not None and data.track(key).is_free else BY_NUMBER
    if node.operator in ("Shape", "Size"):
        return BY_NUMBER  # there are as many of them, whatever they are
    is_alone = node.operator == "Max" and len(node.inputs) == 1  # as torch writes indices
    return NUMBERS if is_alone or node.operator in _KEEPING else COMPUTES
