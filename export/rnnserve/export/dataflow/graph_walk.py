"""Walking a graph node by node, into its loops and branches."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

import rnnserve.export.dataflow.rules  # noqa: F401 - registers the rules
from rnnserve.export.dataflow.branches import either, taken
from rnnserve.export.dataflow.known_sizes import entry_by_entry
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.numbering import with_numbers
from rnnserve.export.dataflow.registry import RULES
from rnnserve.export.dataflow.repeated_loop import RepeatedLoop
from rnnserve.export.dataflow.scan_loop import ScanLoop
from rnnserve.export.dataflow.tracks import Key
from rnnserve.export.dataflow.values import NotCovered, Value, constant

__all__ = ["GraphWalk"]

_ONNX_DOMAINS = ("", "ai.onnx")
_LOOPS: dict[str, type[ScanLoop] | type[RepeatedLoop]] = {"Loop": RepeatedLoop, "Scan": ScanLoop}
_MOST_WALKS = 12  # through a body; each adds a place, or a reason, to a state


class GraphWalk:
    """A walk through a model.

    Attributes:
        keys: Properties that are decided of each tensor.
    """

    def __init__(self, model: onnx.ModelProto, keys: Sequence[Key]) -> None:
        """Prepare a walk.

        Args:
            model: The graph.
            keys: Properties that are decided of each tensor.
        """
        self.keys = keys
        self._uncovered: dict[str, str] = {}  # by the path of a body, its first node that no rule covers
        self._functions = {function.name for function in model.functions}
        self._opset = max((each.version for each in model.opset_import if each.domain in _ONNX_DOMAINS), default=0)

    def results(self, graph: onnx.GraphProto, known: Mapping[str, Value], path: str = "") -> dict[str, Value]:
        """Give what is known of each tensor of a graph, by name.

        Args:
            graph: Graph of the model, or of a loop or a branch.
            known: The graph's inputs, and the tensors of the graphs around it.
            path: Path of the graph in the model, to name its nodes; empty for the model's.
        """
        values = dict(known)
        given = {value.name for value in graph.input}  # which an initializer would only give a default
        for tensor in graph.initializer:
            if tensor.name not in given:
                values[tensor.name] = constant(onnx.numpy_helper.to_array(tensor), tensor.name)
        for proto in graph.node:
            node = self._node(proto, values, path)
            for name, value in zip(proto.output, self.of_node(proto, node, values, path), strict=True):
                if name:
                    values[name] = dataclasses.replace(entry_by_entry(node, value), name=name)
        return values

    def _node(self, proto: onnx.NodeProto, values: Mapping[str, Value], path: str) -> Node:
        attributes = {each.name: _attribute(each) for each in proto.attribute}
        title = f'{proto.op_type} "{path}{proto.name or next(filter(None, proto.output), "")}"'
        node = Node(proto.op_type, title, (), tuple(proto.output), attributes, self.keys, self._opset)
        inputs = [values[name] if name in values else node.undecided() if name else None for name in proto.input]
        return with_numbers(dataclasses.replace(node, inputs=inputs))

    def of_node(self, proto: onnx.NodeProto, node: Node, values: Mapping[str, Value], path: str) -> list[Value]:
        """Give what is known of each result of a node.

        Args:
            proto: The node in its graph.
            node: The node as rules see it.
            values: Tensors before it, by name: what is known of them.
            path: Path of its graph in the model; empty for the model's.
        """
        try:
            found = self._by_rule(proto, node, values, path)
        except (NotCovered, ArithmeticError, IndexError, TypeError, ValueError):
            inner = self._uncovered.get(f"{path}{proto.name or next(filter(None, proto.output), '')}/", node.title)
            self._uncovered.setdefault(path, inner)
            return [dataclasses.replace(node, title=inner).undecided()] * len(proto.output)
        return found[: len(proto.output)] if len(found) >= len(proto.output) else [node.undecided()] * len(proto.output)

    def _by_rule(self, proto: onnx.NodeProto, node: Node, values: Mapping[str, Value], path: str) -> list[Value]:
        inside = f"{path}{proto.name or proto.output[0]}/"
        if proto.domain not in _ONNX_DOMAINS or proto.op_type in self._functions:
            raise NotCovered
        if proto.op_type == "If":
            return self._branches(node, values, inside)
        if proto.op_type in _LOOPS:
            body = node.attribute("body")
            return self._loop(_LOOPS[proto.op_type](node, body, inside.count("/")), body, values, inside)
        if proto.op_type not in RULES:
            raise NotCovered
        found = RULES[proto.op_type](node)
        return found if isinstance(found, list) else [found]

    def _branches(self, node: Node, values: Mapping[str, Value], path: str) -> list[Value]:
        condition = node.input(0)
        names = [name] if (name := taken(condition)) else ["then_branch", "else_branch"]
        results = []
        for name in names:
            graph = node.attribute(name)
            found = self.results(graph, values, f"{path}{name}/")
            results.append([found[value.name] for value in graph.output])
        return either(node, condition, results)

    def _loop(
        self, loop: ScanLoop | RepeatedLoop, body: onnx.GraphProto, values: Mapping[str, Value], path: str
    ) -> list[Value]:
        """Walk a body until what is known of the states before a step does not change any more."""
        states = loop.first_states()
        for _ in range(_MOST_WALKS):
            results = self.results(body, {**values, **loop.known(states)}, path)
            following = loop.next_states(states, results)
            if following == states:
                return loop.results(states, results)
            states = following
        raise NotCovered


def _attribute(attribute: onnx.AttributeProto) -> Any:  # noqa: ANN401 - a number, a string, an array, a graph, …
    value = onnx.helper.get_attribute_value(attribute)
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
