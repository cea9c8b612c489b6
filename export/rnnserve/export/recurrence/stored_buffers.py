"""Buffers that a module writes to for others to read, a count of calls or what a step has computed: left as they are.

A buffer that the next call's results depend on carries a state, which `carried_state` refuses. Any other may stay
unwritten: the exported model gives the same results.
"""

import functools
import operator

import torch
from torch import fx
from torch.export.graph_signature import InputKind

from rnnserve.export.recurrence.scan_markers import BEGIN, END, is_marker
from rnnserve.export.recurrence.scan_writes import viewed, written_by

__all__ = ["leave_stored_buffers"]


def _written_buffers(program: torch.export.ExportedProgram) -> list[fx.Node]:
    specs = program.graph_signature.input_specs
    names = {spec.arg.name for spec in specs if spec.kind is InputKind.BUFFER}
    written = {_origin(each) for node in program.graph.nodes for each in written_by(node)}
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names and node in written]


def leave_stored_buffers(program: torch.export.ExportedProgram) -> None:
    """Make a program write to none of its buffers."""
    stored = _written_buffers(program)
    _erase_last_writes(program.graph, stored)
    for buffer in stored:
        if buffer.users:
            with program.graph.inserting_after(buffer):
                copied = program.graph.call_function(torch.ops.aten.clone.default, (buffer,))
            copied.meta["val"] = buffer.meta["val"].clone()
            buffer.replace_all_uses_with(copied, delete_user_cb=functools.partial(operator.is_not, copied))
    program.graph_module.recompile()


def _erase_last_writes(graph: fx.Graph, stored: list[fx.Node]) -> None:
    """Erase what torch puts at the end for `self.buffer = value`: values may be of another shape than the buffer."""
    for node in reversed(graph.nodes):
        if node.op == "output":
            continue
        if node.target is not torch.ops.aten.copy_.default or node.args[0] not in stored or node.users:
            break
        graph.erase_node(node)


def _origin(node: fx.Node) -> fx.Node:
    """Give the tensor that a node is a view of, or the node itself; each result of a marker is a tensor of its own."""
    while (source := viewed(node)) is not None and not is_marker(source, BEGIN) and not is_marker(source, END):
        node = source
    return node
