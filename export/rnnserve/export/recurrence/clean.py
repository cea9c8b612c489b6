"""From what the exporter gives to what is published: the names asked for, and nothing of the exporting machine."""

import torch
import onnx_ir as ir

from rnnserve.export.recurrence.axes import Axes

__all__ = ["clean"]


def clean(program: torch.onnx.ONNXProgram, axes: Axes) -> None:
    """Rename the axes and strip every trace of the machine from `program`, in place."""
    graph = program.model.graph
    renamed: dict[str, str] = {}
    for value, names in zip(graph.inputs, axes.names, strict=True):
        for axis, name in names.items():
            renamed[str(value.shape[axis].value)] = name
    program.rename_axes(renamed)
    program.model.metadata_props.clear()
    graph.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        _strip(value)
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            _strip(value)


def _strip(value: ir.Value) -> None:
    value.metadata_props.clear()
    value.doc_string = None
