"""Every value that an ONNX graph computes: inputs, constants, and the result of each node."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity import OnnxProcess, OnnxRunner

__all__ = ["GraphValues"]


class GraphValues:
    """A graph with the values of one run.

    Attributes:
        graph: The graph itself, its nodes in topological order.
        values: Every tensor of the graph by name, of subgraphs none.
        variable: The names of values that depend on the inputs.
    """

    def __init__(
        self, model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]], process: OnnxProcess | None = None
    ) -> None:
        """Run a graph with all its values as outputs.

        Args:
            model: The graph.
            inputs: Arrays by name.
            process: Process in which it runs, if it is of unknown origin; this one where it is None.

        Raises:
            RuntimeError: If onnxruntime does not run it.
        """
        opened = ir.from_proto(model)
        self.graph = opened.graph
        self.graph.sort()
        before = list(self.graph.outputs)
        results = [value for node in self.graph for value in node.outputs if value.name]
        self.graph.outputs.extend(value for value in results if value not in before)
        data = ir.to_proto(opened).SerializeToString()
        self.graph.outputs[:] = before
        computed = OnnxRunner(data, optimized=False, process=process)(inputs)
        self.values: Arrays = {
            name: tensor.const_value.numpy()
            for name, tensor in self.graph.initializers.items()
            if tensor.const_value is not None
        }
        self.values |= {name: np.asarray(array) for name, array in inputs.items()}
        self.values |= {name: array for name, array in computed.items() if isinstance(array, np.ndarray)}
        self.variable: set[str] = {name for name in inputs if name in self.values}
        for node in self.graph:
            depends = any(value is not None and value.name in self.variable for value in node.inputs)
            if depends or _captures(node):
                self.variable |= {value.name for value in node.outputs if value.name}

    def input_of(self, node: ir.Node, at: int) -> npt.NDArray[Any] | None:
        """Give the value of a node's input; None where it has none."""
        value = node.inputs[at] if at < len(node.inputs) else None
        return None if value is None or not value.name else self.values.get(value.name)

    def is_variable(self, node: ir.Node, at: int) -> bool:
        """Whether a node's input depends on the graph's."""
        value = node.inputs[at] if at < len(node.inputs) else None
        return value is not None and value.name in self.variable


def _captures(node: ir.Node) -> bool:
    """Whether a node has a subgraph, which may read any value."""
    return any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())
