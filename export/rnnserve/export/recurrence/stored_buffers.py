"""Buffers that a module writes to for others to read, a count of calls or what a step has computed: left as they are.

A buffer that a result depends on carries a state from call to call, which is refused. One that no result depends on may
stay unwritten: the exported model gives the same results.
"""

import functools
import operator
from collections.abc import Iterable

import torch
from torch import fx
from torch.export.graph_signature import InputKind

from rnnserve.export.recurrence.refusals import keeps_state
from rnnserve.export.recurrence.scan_markers import BEGIN, END, is_marker, numbers_of
from rnnserve.export.recurrence.scan_writes import viewed, written_by

__all__ = ["leave_stored_buffers", "written_buffers"]

_OVERWRITING = ("copy_", "zero_", "fill_")  # whatever was in the tensor before


def written_buffers(program: torch.export.ExportedProgram) -> dict[fx.Node, str]:
    """Give the buffers that a program writes to, with their names in the module."""
    specs = program.graph_signature.input_specs
    names = {spec.arg.name: str(spec.target) for spec in specs if spec.kind is InputKind.BUFFER}
    written = {_origin(each) for node in program.graph.nodes for each in written_by(node)}
    inputs = (node for node in program.graph.nodes if node.op == "placeholder")
    return {node: names[node.name] for node in inputs if node.name in names and node in written}


def leave_stored_buffers(program: torch.export.ExportedProgram) -> None:
    """Make a program write to none of its buffers.

    Raises:
        UnsupportedModule: If a result depends on what is in one that is written to, before a call.
    """
    stored = written_buffers(program)
    carried = [name for node, name in stored.items() if _Dependence(program.graph, [node]).reaches_results()]
    if carried:
        raise keeps_state(carried)
    _erase_last_writes(program.graph, list(stored))
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


class _Dependence:
    """Which values of a program depend on some of its inputs, by the tensors that they are, or are views of.

    Args:
        graph: Graph of the program.
        sources: The inputs.
    """

    def __init__(self, graph: fx.Graph, sources: Iterable[fx.Node]) -> None:
        self._graph, self._sources = graph, frozenset(sources)
        self._fed: set[tuple[object, int]] = set()  # states of scans that depend on them after a step
        self._values: set[fx.Node] = set()

    def reaches_results(self) -> bool:
        """Whether a result of the program depends on one of them."""
        while True:  # until no scan feeds back more
            fed = len(self._fed)
            self._values = set(self._sources)
            found = [self._visit(node) for node in self._graph.nodes]
            if len(self._fed) == fed:
                return any(found)

    def _visit(self, node: fx.Node) -> bool:
        if node.op == "output":
            return self._depends(node)
        if node.target is operator.getitem and isinstance(source := node.args[0], fx.Node):
            number = node.args[1]
            if is_marker(source, BEGIN) and isinstance(number, int):
                if self._is(_inputs(source)[number]) or (numbers_of(source)[0], number) in self._fed:
                    self._values.add(node)
                return False
            if is_marker(source, END) and isinstance(number, int):
                self._end(source, number, node)
                return False
        if is_marker(node, BEGIN) or is_marker(node, END):
            self._feed(node)
            return False
        depends = self._depends(node)
        if depends and _origin(node) is node:
            self._values.add(node)
        for each in written_by(node):
            self._write(node, each, depends=depends)
        return False

    def _end(self, marker: fx.Node, number: int, node: fx.Node) -> None:
        """A state after a scan is that before it where there are no steps; an output is of its steps."""
        (_, states, outputs, *_), given = numbers_of(marker), _inputs(marker)
        before = given[states + outputs + number] if number < states else given[number]
        if self._is(given[number]) or self._is(before):
            self._values.add(node)

    def _feed(self, marker: fx.Node) -> None:
        if is_marker(marker, END):
            scan, states, *_ = numbers_of(marker)
            self._fed |= {(scan, at) for at in range(states) if self._is(_inputs(marker)[at])}

    def _write(self, node: fx.Node, into: fx.Node, *, depends: bool) -> None:
        """Note a write; what is written as a whole depends on nothing else than what is written."""
        given = [each for each in node.all_input_nodes if each is not into]
        if _name(node) in _OVERWRITING and _origin(into) is into:
            depends = any(map(self._is, given))
            self._values.discard(into)
        if depends:
            self._values.add(_origin(into))

    def _is(self, node: fx.Node) -> bool:
        return _origin(node) in self._values

    def _depends(self, node: fx.Node) -> bool:
        return any(map(self._is, node.all_input_nodes))


def _origin(node: fx.Node) -> fx.Node:
    """Give the tensor that a node is a view of, or the node itself; each result of a marker is a tensor of its own."""
    while (source := viewed(node)) is not None and not is_marker(source, BEGIN) and not is_marker(source, END):
        node = source
    return node


def _name(node: fx.Node) -> str:
    return node.target.overloadpacket.__name__ if isinstance(node.target, torch._ops.OpOverload) else ""  # noqa: SLF001


def _inputs(marker: fx.Node) -> list[fx.Node]:
    given = marker.args[0]
    assert isinstance(given, list | tuple)  # noqa: S101 - as torch.onnx.ops writes its tensors
    return [each for each in given if isinstance(each, fx.Node)]
