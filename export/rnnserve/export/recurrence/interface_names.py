"""Names of the graph's inputs and outputs, given after outputs have become values of their own.

torch's exporter names them before: where an output is an input, or two outputs are one value, names would be lost.
"""

from collections.abc import Sequence

import onnx_ir as ir

from rnnserve.export.recurrence.graph_values import values_of

__all__ = ["name_interface"]


def name_interface(model: ir.Model, input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """Name the inputs and outputs, in place, and rename other values of these names.

    Args:
        model: Model whose outputs are different values, none of them an input.
        input_names: One an input, in order.
        output_names: One an output, in order.
    """
    taken = {*input_names, *output_names}
    for value in values_of(model):
        if value.name in taken:
            value.name = f"{value.name}/inner"
    for values, names in ((model.graph.inputs, input_names), (model.graph.outputs, output_names)):
        for value, name in zip(values, names, strict=True):
            value.name = name
