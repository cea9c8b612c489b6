"""Traverse a graph node by node, including its loops and branches, and make one record per value."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from rnnserve.export.analysis.flow import Node
from rnnserve.export.analysis.loops import ScanLoop, joined
from rnnserve.export.analysis.sizes import Size, computed, maximum, minimum, named, quotient
from rnnserve.export.analysis.table import RULES
from rnnserve.export.analysis.values import (
    ANY,
    BY_NUMBER,
    COMPUTES,
    FREE,
    NUMBERS,
    Columns,
    Content,
    Key,
    NotCovered,
    Range,
    Reason,
    Value,
    constant,
    fill_of,
    join,
    plain,
)

_READING = ("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND")
"""Operators that read or write at indices; the indices are their second input."""
_KEEPING = (  # operators by which graphs compute indices: if an input holds row or step numbers, so does the result
    *("Add", "Cast", "CastLike", "Concat", "Expand", "Flatten", "Identity", "Mul", "Neg", "Reshape", "Slice", "Split"),
    *("Squeeze", "Sub", "Tile", "TopK", "Transpose", "Unsqueeze", "If", "Loop", "Scan", "Shape", "Size"),
)
_ONNX_DOMAINS = ("", "ai.onnx")
OF_MICROSOFT = frozenset({"CausalConvWithState", "LinearAttention"})
"""Operators that onnxruntime also has in its domain "com.microsoft", with the same inputs and results."""
_LARGEST_INPUT = 1e12  # sums of products of larger inputs may overflow, and the analysis doesn't check for that
_UNCOVERED = (NotCovered, ArithmeticError, LookupError, StopIteration, TypeError, ValueError)  # files may hold anything


class Walk:
    """A traversal of a model that finds how each value depends on the inputs or, without keys, its range.

    `values` maps each value to its record, including the values within the bodies of loops and branches.
    """

    def __init__(self, model: ir.Model, keys: Sequence[Key] = ()) -> None:
        self._model = model
        self._keys = keys
        self._uncovered: dict[str, str] = {}  # by the path of a body: its first node without a rule
        self._functions = {name for _, name, _ in model.functions}
        opsets = model.graph.opset_imports
        self._opset = max((version for domain, version in opsets.items() if domain in _ONNX_DOMAINS), default=0)
        self.values: dict[ir.Value, Value] = {}

    def run(self, inputs: Mapping[str, Value]) -> "Walk":
        """Traverse the graph, starting from the records of its inputs by name. Returns the walk itself."""
        for value in self._model.graph.inputs:
            self.values[value] = inputs.get(value.name or "") or Value(None, range=ANY)
        self._graph(self._model.graph, "")
        return self

    def of(self, value: ir.Value | None) -> Value:
        """Return the record of a value. An input that a node leaves out counts as zeros."""
        return Value(None, range=Range(0.0, 0.0)) if value is None else self.values.get(value, Value(None, range=ANY))

    def by_name(self) -> dict[str, Value]:
        """Return the records of the main graph's values, by name."""
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
        return _with_numbers(dataclasses.replace(empty, inputs=inputs))

    def of_node(self, each: ir.Node, node: Node, path: str) -> list[Value]:
        """Return the record of each result of a node, in the graph with this path."""
        try:
            found = self._by_rule(each, node, path)
        except _UNCOVERED:
            inner = self._uncovered.get(f"{path}{_name(each)}/", node.title)
            self._uncovered.setdefault(path, inner)
            return [dataclasses.replace(node, title=inner).undecided()] * len(each.outputs)
        return found[: len(each.outputs)] if len(found) >= len(each.outputs) else [node.undecided()] * len(each.outputs)

    def _by_rule(self, each: ir.Node, node: Node, path: str) -> list[Value]:
        if not self._is_known(each):
            raise NotCovered
        inside = f"{path}{_name(each)}/"
        if each.op_type == "If":
            return self._branches(node, inside)
        if each.op_type in ("Loop", "Scan"):
            return self._loop(node, inside)
        if each.op_type not in RULES:
            raise NotCovered
        found = RULES[each.op_type][0](node)
        return found if isinstance(found, list) else [found]

    def _is_known(self, each: ir.Node) -> bool:
        """Whether a node's operator belongs to ONNX, or belongs to onnxruntime and has a rule."""
        is_of_domain = each.domain in _ONNX_DOMAINS or (each.domain == "com.microsoft" and each.op_type in OF_MICROSOFT)
        return is_of_domain and each.op_type not in self._functions

    def _branches(self, node: Node, path: str) -> list[Value]:
        """Traverse both branches. A result depends on the result of either branch, and on the condition."""
        made = []
        for name in ("then_branch", "else_branch"):
            self._graph(node.attribute(name), f"{path}{name}/")
            made.append([self.of(value) for value in node.attribute(name).outputs])
        condition = node.input(0)
        results = [joined(node, values) for values in zip(*made, strict=True)]
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
            return ScanLoop(node, path).results(walk)
        except _UNCOVERED:  # the analysis knows nothing about a Loop either
            uncovered = dict(self._uncovered)
            walk([dataclasses.replace(node.undecided(), range=ANY)] * len(body.inputs))
            self._uncovered = uncovered
            raise NotCovered from None

    def _completed(self, each: ir.Node, node: Node, value: ir.Value, known: Value) -> Value:
        """Complete the record of a result with its name and range."""
        if self._keys:
            return dataclasses.replace(known, name=value.name or "")
        range = known.range
        if range is None and each.op_type in RULES and self._is_known(each):
            try:
                range = RULES[each.op_type][1](node)
            except _UNCOVERED:
                range = ANY
        range = range or ANY
        if value.dtype is not None and not value.dtype.is_floating_point():
            range = Range(range.low, range.high)
        return dataclasses.replace(known, range=range.limited, name=value.name or "")


def _name(node: ir.Node) -> str:
    return node.name or next((value.name for value in node.outputs if value.name), "")


def _python_value(attribute: ir.Attr) -> Any:  # noqa: ANN401 - a number, a string, an array, a graph, …
    value = attribute.value
    return value.numpy() if isinstance(value, ir.TensorProtocol) else value


def declared_inputs(graph: ir.Graph, *, finite: bool, infinite: Collection[str] = ()) -> dict[str, Value]:
    """Return records for a graph's inputs, from the file alone: their shapes, and whether their floats are finite.

    The inputs count as finite if `finite` is set, except for those named in `infinite`.
    """
    known = {}
    for value in graph.inputs:
        name, shape = value.name or "", None
        if value.shape is not None:
            sizes = enumerate(value.shape)
            shape = plain([s if isinstance(s, int) else named(s.value or f"{name}.{at}") for at, s in sizes])
        is_finite = (finite and name not in infinite) or not (value.dtype is None or value.dtype.is_floating_point())
        known[name] = Value(shape, range=Range(-_LARGEST_INPUT, _LARGEST_INPUT) if is_finite else ANY)
    return known


def _with_numbers(node: Node) -> Node:
    """Return the node with its use of row or step numbers recorded on those inputs.

    If the numbers are indices into data that lies along these rows, they may read each row at its own place: graphs
    restore the order of sorted rows like this. Any other computation on the numbers, such as a comparison, may make a
    row's result depend on its number. So may a lookup table from which each row takes the entry with its number.
    """
    is_alone = node.operator == "Max" and len(node.inputs) == 1  # torch writes indices like this
    if is_alone or node.operator in _KEEPING:
        return node
    inputs = list(node.inputs)
    for at, value in enumerate(inputs):
        is_numbered = value is not None and any(
            r.sentence == NUMBERS for t in value.tracks.values() for r in t.undecided
        )
        if value is not None and is_numbered and not (node.operator in _READING and at != 1):
            data = node.inputs[0] if node.operator in _READING else None
            inputs[at] = _read_numbers(value, data)
    return dataclasses.replace(node, inputs=inputs)


def _read_numbers(value: Value, data: Value | None) -> Value:
    """Mark row or step numbers as indices into `data`, or as operands of another computation if `data` is None."""
    tracks = {}
    for key, track in value.tracks.items():
        does = COMPUTES if data is None or data.track(key).is_free else BY_NUMBER
        said = (Reason(each.node, does) if each.sentence == NUMBERS else each for each in track.undecided)
        tracks[key] = dataclasses.replace(track, undecided=tuple(dict.fromkeys(said)))
    pattern = value.pattern
    if isinstance(pattern, Columns):
        pattern = Columns(tuple(_read_numbers(part, data) for part in pattern.parts))
    return dataclasses.replace(value, tracks=tracks, pattern=pattern)


def with_content(node: Node, value: Value) -> Value:
    """Complete the record of a result with its values, if they are known.

    If all values of a tensor are known, each depends only on the sizes in it. For example, the Shape of `x` reads the
    number of rows, but `x.std(-1)` takes only the number of features from it, and no row changes that number.
    """
    content = value.few if value.content is not None else _computed(node, value)
    if content is None:
        return value
    fill = value.fill if content.dtype == object else fill_of(content)
    value = dataclasses.replace(value, content=content, fill=fill)
    if content.dtype.kind not in "fiubO" or value.size_numbers != list(content.shape):
        return value
    sizes = [each for each in content.ravel().tolist() if isinstance(each, Size)]
    tainted = frozenset[str]().union(*(size.tainted for size in sizes))
    tracks = {key: value.track(key) if key[1] in tainted else FREE for key in node.keys}
    return dataclasses.replace(value, tracks=tracks)


def _divided(number: int | Size, by: int | Size) -> int | Size | None:
    """Divide integers as ONNX does. If the result isn't a polynomial, it becomes a symbol for the computation."""
    first, second = Size.of(number), Size.of(by)
    if first.number is not None and second.number is not None:
        return int(first.number / second.number) if second.number else None
    exact = quotient(first, second) if second.terms else None
    if exact is not None:
        return exact
    return computed("floor", first, second, lowest=0) if first.at_least(0) and second.at_least(1) else None


def _remainder(number: int | Size, by: int | Size) -> int | None:
    """Return the remainder with the divisor's sign, as ONNX does for integers: torch.roll uses it to cut an axis."""
    first, second = Size.of(number).number, Size.of(by).number
    return first % second if first is not None and second else None


def _equal(number: int | Size, other: int | Size) -> bool | None:
    """Compare sizes. They are never equal if they differ by a nonzero number; otherwise, None means "maybe"."""
    first, second = Size.of(number), Size.of(other)
    if first == second:
        return True
    return False if first.at_least(second + 1) or second.at_least(first + 1) else None


_WIDE_INTEGERS = {6, 7, 12, 13}  # types of TensorProto
_INTEGERS = {2, 3, 4, 5} | _WIDE_INTEGERS
_OF_SIZES: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Where": np.where,
    "Div": np.frompyfunc(_divided, 2, 1),
    "Mod": np.frompyfunc(_remainder, 2, 1),
    "Equal": np.frompyfunc(_equal, 2, 1),
    "Max": np.frompyfunc(lambda first, second: maximum(Size.of(first), Size.of(second)), 2, 1),
    "Min": np.frompyfunc(lambda first, second: minimum(Size.of(first), Size.of(second)), 2, 1),
}


def _summed(node: Node, contents: Sequence[Content], shape: list[int]) -> Content:
    function = np.prod if node.operator == "ReduceProd" else np.sum
    axes = node.axes(contents[0].ndim) or range(contents[0].ndim)
    return np.asarray(function(contents[0], axis=tuple(axes))).reshape(shape)


_MOVING: Mapping[str, Callable[[Node, Sequence[Content], list[int]], Any]] = {
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze"), lambda _, contents, shape: contents[0].reshape(shape)
    ),
    "Expand": lambda _, contents, shape: np.broadcast_to(contents[0], shape),
    "Transpose": lambda node, contents, _: contents[0].transpose(node.attribute("perm")),
    "Gather": lambda node, contents, _: np.take(contents[0], contents[1].astype(int), int(node.attribute("axis", 0))),
    "Concat": lambda node, contents, _: np.concatenate(contents, int(node.attribute("axis"))),
}


def _computed(node: Node, result: Value) -> Content | None:
    shape, contents = result.size_numbers, [content for value in node.given if (content := value.few) is not None]
    if shape is None or not contents or len(contents) < len(node.given):
        return None
    operator, kinds = node.operator, {content.dtype.kind for content in contents}
    try:
        if operator in _MOVING:
            return np.asarray(_MOVING[operator](node, contents, shape))
        if operator == "Cast":
            to = int(node.attribute("to"))
            if "O" in kinds:
                return contents[0] if to in _WIDE_INTEGERS else None
            return contents[0].astype(np.int64) if to in _INTEGERS and kinds <= set("iub") else None
        if operator in ("ReduceProd", "ReduceSum") and kinds <= set("iuO"):
            return _summed(node, contents, shape)
        is_of_sizes = operator in _OF_SIZES and kinds <= set("iubO") and not node.attribute("fmod")
        return _plain(np.asarray(_OF_SIZES[operator](*contents))) if is_of_sizes else None
    except (ArithmeticError, IndexError, NotCovered, TypeError, ValueError):
        return None


def _plain(content: Content) -> Content | None:
    """Convert an array of sizes to numbers if all are numbers. None if a value isn't known."""
    if content.dtype != object:
        return content
    entries = [Size.of(each).number if isinstance(each, Size) else each for each in content.ravel().tolist()]
    if None not in entries and entries:
        return np.array(entries).reshape(content.shape)
    return None if any(each is None for each in content.ravel().tolist()) else content
