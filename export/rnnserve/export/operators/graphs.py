"""Tools for torch.onnx's graphs: builders for nodes, access to values, and one loop that rewrites nodes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxscript


class NodesBefore:
    """Adds nodes with unique names before a given node of a graph."""

    def __init__(self, graph: ir.Graph, before: ir.Node, name: str) -> None:
        self.graph, self._before, self._name, self._number = graph, before, name, 0

    def add(self, node: ir.Node) -> ir.Value:
        """Add an existing node with one result, and return the result."""
        output = node.outputs[0]
        if output.name is None:
            output.name = f"{self._name}_{self._number}"
            self._number += 1
        self.graph.insert_before(self._before, node)
        return output

    def make(self, operator: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """Add a node with one result, and return the result."""
        return self.add(ir.node(operator, list(inputs), attributes))

    def again(self, node: ir.Node, *inputs: ir.Value | None) -> ir.Value:
        """Add a copy of a node whose first inputs are replaced, and return its first result."""
        given = [*inputs, *node.inputs[len(inputs) :]]
        result = self.add(ir.node(node.op_type, given, dict(node.attributes)))
        result.type, result.shape = node.outputs[0].type, node.outputs[0].shape
        return result

    def constant(self, array: npt.ArrayLike, dtype: ir.DataType) -> ir.Value:
        """Add a constant node, and return its value."""
        tensor = ir.tensor(np.asarray(array).astype(dtype.numpy()), dtype=dtype)
        return self.add(ir.node("Constant", [], {"value": tensor}))


class NodeBuilder:
    """Collects new nodes in order, and constants for their graph's initializers. All names begin with the prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self._integers: dict[str, ir.Value] = {}

    def op(self, operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:  # noqa: ANN401 - what onnx_ir takes
        """Make a node with one result, and return the result."""
        return self.ops(operator, inputs, 1, **attributes)[0]

    def ops(self, operator: str, inputs: Sequence[ir.Value], count: int, **attributes: Any) -> Sequence[ir.Value]:  # noqa: ANN401
        """Make a node with `count` results, and return the results."""
        name = f"{self.prefix}/{len(self.nodes)}_{operator}"
        outputs = [ir.Value(name=name if count == 1 else f"{name}_{number}") for number in range(count)]
        self.nodes.append(ir.node(operator, inputs, attributes, outputs=outputs, name=name))
        return outputs

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """Make a constant, and return its value."""
        tensor = ir.tensor(np.require(array, requirements="C"), name=f"{self.prefix}/{name}")
        value = ir.Value(
            name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
        )
        self.constants.append(value)
        return value

    def integers(self, number: int | Sequence[int]) -> ir.Value:
        """Return an int64 constant, a number or a list. Equal constants are made only once."""
        array = np.array(number, np.int64)
        name = "_".join(["integer" if array.ndim == 0 else "integers", *map(str, array.ravel())])
        if name not in self._integers:
            self._integers[name] = self.constant(name, array)
        return self._integers[name]

    def counted(self, value: ir.Value) -> ir.Value:
        """Return the indices 0, 1, … along a value's first axis."""
        size = self.op("Squeeze", self.op("Shape", value, start=0, end=1), self.integers([0]))
        return self.op("Range", self.integers(0), size, self.integers(1))


Rewrite: TypeAlias = Callable[[NodesBefore, ir.Node], ir.Value | None]
"""Adds nodes before a node and returns a replacement for its first result, or None to leave the node unchanged."""


def rewrite(model: ir.Model, rewrites: Mapping[str, Rewrite]) -> None:
    """Rewrite the nodes of all graphs by operator, in place. New nodes aren't rewritten again."""
    for graph in list(model.graphs()):
        for node in _used(graph):
            change = rewrites.get(node.op_type)
            if change is not None:
                found = change(NodesBefore(graph, node, f"{node.outputs[0].name or node.op_type}/before"), node)
                if found is not None:
                    _replace(graph, node, found)


def _used(graph: ir.Graph) -> Iterable[ir.Node]:
    """Return the nodes whose results are used now, before any rewrite."""
    return [node for node in graph if any(output.uses() or output.is_graph_output() for output in node.outputs)]


def _replace(graph: ir.Graph, node: ir.Node, found: ir.Value) -> None:
    result = node.outputs[0]
    found.type, found.shape = found.type or result.type, result.shape
    result.replace_all_uses_with(found, replace_graph_outputs=True)
    found.name, result.name = result.name, f"{result.name}/replaced"
    if not any(output.uses() for output in node.outputs):
        graph.remove(node, safe=True)


def values_of(model: ir.Model) -> Iterator[ir.Value]:
    """Yield all inputs, initializers and node results of all graphs."""
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def integers_of(value: ir.Value | None) -> list[int] | None:
    """Return the elements of a constant, in order, or None if the value isn't constant."""
    constant = None if value is None else value.const_value
    return None if constant is None else [int(number) for number in constant.numpy().flat]


def remove_unused(graph: ir.Graph) -> None:
    """Remove unused nodes and initializers.

    onnx-ir's RemoveUnusedNodesPass also removes unused optional outputs of used nodes. This would change the bytes of
    models that return only `h_n`.
    """
    kept = set(graph.outputs)
    for node in reversed(graph):
        if not any(output.uses() or output in kept for output in node.outputs):
            graph.remove(node, safe=True)
    for name, initializer in list(graph.initializers.items()):
        if not initializer.uses() and initializer not in kept:
            del graph.initializers[name]


_NAMED = {f"tensor({name})": ir.DataType[member] for name, member in (("bool", "BOOL"), ("int64", "INT64"))}


def fill_types(model: ir.Model) -> None:
    """Set the missing types that an operator determines, in place. Shapes don't change."""
    version = model.opset_imports.get("", 0)
    for graph in model.graphs():
        for node in graph:
            for position, output in enumerate(node.outputs):
                if output.dtype is None:
                    found = _type_of(node, position, version)
                    if found is not None:
                        output.type = ir.TensorType(found)


def _type_of(node: ir.Node, position: int, version: int) -> ir.DataType | None:
    match node.op_type:
        case "Cast":
            return ir.DataType(node.attributes["to"].as_int())
        case "Constant":
            return _of_constant(node)
        case "ConstantOfShape":
            value = node.attributes.get("value")
            return ir.DataType.FLOAT if value is None else value.as_tensor().dtype
    if node.domain or not onnx.defs.has(node.op_type, version):
        return None
    schema = onnx.defs.get_schema(node.op_type, version)
    formal = schema.outputs[min(position, len(schema.outputs) - 1)].type_str
    allowed = next((each.allowed_type_strs for each in schema.type_constraints if each.type_param_str == formal), ())
    named = allowed[0] if len(allowed) == 1 else formal  # IsInf returns "T2", which is only ever a bool
    if named in _NAMED:
        return _NAMED[named]
    for at, source in enumerate(node.inputs):
        same = schema.inputs[min(at, len(schema.inputs) - 1)].type_str == formal
        if same and source is not None and source.dtype is not None:
            return source.dtype
    return None


def _of_constant(node: ir.Node) -> ir.DataType | None:
    if "value" in node.attributes:
        return node.attributes["value"].as_tensor().dtype
    if "value_float" in node.attributes or "value_floats" in node.attributes:
        return ir.DataType.FLOAT
    return ir.DataType.INT64 if "value_int" in node.attributes or "value_ints" in node.attributes else None


Value: TypeAlias = Any  # an onnx_ir.Value or a number: onnxscript annotates operators with their result types

_BOOLS = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"}
)
_LIKE_SECOND = frozenset({"CastLike", "Where"})
_LIKE_FIRST = frozenset(
    {"Abs", "Add", "Atan", "Ceil", "Div", "Exp", "Expand", "Floor", "Gather", "Log", "Max", "Min", "Mod", "Mul", "Neg"}
    | {"Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape", "Sign", "Sqrt"}
    | {"Softplus", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
)


class _TypedOperators:
    """onnxscript's operators, with result types set immediately.

    onnxscript gives a number the type of the other operand if that type is known. Otherwise it uses float32, and mixing
    float32 with float64 isn't valid ONNX. Casting the number to float64 afterwards doesn't help, because it has been
    rounded to float32 already: 0.7 lost half of its digits.
    """

    # onnxscript's annotations describe computed types, not the values that translations handle.
    _operators: Any = onnxscript.opset20

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operator = getattr(self._operators, name)

        def typed(*arguments: Value, **attributes: Any) -> Value:  # noqa: ANN401 - whatever the operator has
            if name == "CastLike" and isinstance(arguments[0], int | float) and arguments[1].dtype is not None:
                number = np.array(arguments[0]).astype(arguments[1].dtype.numpy())
                constant: Value = self._operators.Constant(value=ir.tensor(number, dtype=arguments[1].dtype))
                constant.dtype = arguments[1].dtype
                return constant
            result = operator(*arguments, **attributes)
            dtype = _type_of_result(name, arguments, attributes)
            if isinstance(result, ir.Value) and result.dtype is None and dtype is not None:
                result.dtype = dtype
            return result

        return typed


def _type_of_result(name: str, arguments: tuple[Value, ...], attributes: dict[str, Any]) -> ir.DataType | None:
    if name in _BOOLS:
        return ir.DataType.BOOL
    if name == "Cast":
        return ir.DataType(int(attributes["to"]))
    if name in ("Shape", "Size"):
        return ir.DataType.INT64
    if name in _LIKE_SECOND or name in _LIKE_FIRST:
        given = arguments[1:] if name in _LIKE_SECOND else arguments
        return next((value.dtype for value in given if isinstance(value, ir.Value)), None)
    return None


op: Any = _TypedOperators()


def is_floating(value: Value) -> bool:
    """Whether a value has a float type."""
    dtype: ir.DataType | None = value.dtype
    return dtype is not None and dtype.is_floating_point()


def is_negative(x: Value) -> Value:
    """Compute which floats are negative. This includes -0.0, whose reciprocal is -inf."""
    return op.Or(op.Less(x, 0.0), op.Less(op.Reciprocal(x), 0.0))
