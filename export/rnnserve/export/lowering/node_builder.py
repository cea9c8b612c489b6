"""Making ONNX nodes one after another, with the constants that they use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = ["NodeBuilder"]


class NodeBuilder:
    """Makes nodes, in order, and constants, to be initializers of their graph. All names begin with a prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self._integers: dict[str, ir.Value] = {}

    def op(self, operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:  # noqa: ANN401 - what onnx_ir takes
        """Make a node with one result, and return that."""
        return self.ops(operator, inputs, 1, **attributes)[0]

    def ops(self, operator: str, inputs: Sequence[ir.Value], count: int, **attributes: Any) -> Sequence[ir.Value]:  # noqa: ANN401
        """Make a node with several results, and return those."""
        name = f"{self.prefix}/{len(self.nodes)}_{operator}"
        outputs = [ir.Value(name=name if count == 1 else f"{name}_{number}") for number in range(count)]
        self.nodes.append(ir.node(operator, inputs, attributes, outputs=outputs, name=name))
        return outputs

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """Make a constant."""
        tensor = ir.tensor(np.require(array, requirements="C"), name=f"{self.prefix}/{name}")
        value = ir.Value(
            name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
        )
        self.constants.append(value)
        return value

    def integers(self, number: int | Sequence[int]) -> ir.Value:
        """Make a constant of int64, a number or a list of them; an equal one is made once."""
        array = np.array(number, np.int64)
        name = "_".join(["integer" if array.ndim == 0 else "integers", *map(str, array.ravel())])
        if name not in self._integers:
            self._integers[name] = self.constant(name, array)
        return self._integers[name]

    def counted(self, value: ir.Value) -> ir.Value:
        """Count from 0 along a value's first axis."""
        size = self.op("Squeeze", self.op("Shape", value, start=0, end=1), self.integers([0]))
        return self.op("Range", self.integers(0), size, self.integers(1))
