"""Folding reordered and stacked weights into initializers: the file holds ONNX's layout, not the steps that lead to it.

Neither the exporter's constant folding nor onnxscript's does it: they stop at a size that a hidden size of some
hundreds already exceeds, and where they do not stop they leave the original weights in the file. Here exactly the
weights of recurrent operators are folded, of any size, together with what computes them (weight norm and other
parametrisations included).
"""

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from rnnserve.export.recurrence.graph_values import remove_unused

__all__ = ["RECURRENT", "fold_weights"]

RECURRENT = ("RNN", "GRU", "LSTM")
_WEIGHTS = {1: "W", 2: "R", 3: "B"}


def fold_weights(model: ir.Model) -> None:
    """Make W, R and B of every recurrent operator an initializer, in place, where they depend on initializers only.

    Afterwards every node and every initializer is used. Weights that depend on the module's inputs stay as they are:
    every run computes them.
    """
    graph = model.graph
    known: dict[str, np.ndarray] = {}
    for number, node in enumerate(node for node in graph.all_nodes() if node.op_type in RECURRENT):
        for position, letter in _WEIGHTS.items():
            value = node.inputs[position] if position < len(node.inputs) else None
            if value is None or not _is_constant(value):
                continue
            name = f"{node.op_type}_{number}/{letter}"
            if value.producer() is None:
                if len(value.uses()) == 1:  # the exporter has folded it already, under a running number
                    del graph.initializers[value.name or ""]
                    value.name = name
                    graph.initializers.add(value)
                continue
            array = _evaluate(value, known)
            tensor = ir.tensor(array, name=name)
            folded = ir.Value(
                name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
            )
            graph.initializers.add(folded)
            node.replace_input_with(position, folded)
    remove_unused(graph)


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    if producer is None:
        return value.const_value is not None and not value.is_graph_input()
    if producer.op_type == "Constant":
        return True
    return all(_is_constant(source) for source in producer.inputs if source is not None)


def _evaluate(value: ir.Value, known: dict[str, np.ndarray]) -> np.ndarray:
    """Compute a constant value; `known` holds by name what was computed so far."""
    name = value.name or ""
    if name not in known:
        if value.const_value is not None:
            known[name] = value.const_value.numpy()
        else:
            node = value.producer()
            assert node is not None  # noqa: S101 - `_is_constant` has followed the same producers
            inputs = {source.name or "": _evaluate(source, known) for source in node.inputs if source is not None}
            results = ReferenceEvaluator(ir.to_proto(node)).run(None, inputs)
            known.update({output.name or "": array for output, array in zip(node.outputs, results, strict=True)})
    return np.ascontiguousarray(known[name])
