"""Refusing steps of a `scan` that write to tensors from outside: a later step sees it in eager, but not in ONNX."""

import operator

import torch
from torch import fx

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.scan_markers import BEGIN, END, is_marker, numbers_of

__all__ = ["refuse_writes", "viewed", "written_by"]


def refuse_writes(graph: fx.Graph) -> None:
    """Refuse steps that write to a tensor which they have not made.

    Raises:
        UnsupportedModule: If there is one.
    """
    positions = {node: position for position, node in enumerate(graph.nodes)}
    # The step of a loop in the user's code is captured several times: what has no end comes to nothing.
    ended = {numbers_of(node)[0] for node in positions if is_marker(node, END)}
    begins: list[tuple[int, int]] = []  # of scans, each with its number
    for node, position in positions.items():
        if is_marker(node, BEGIN) and numbers_of(node)[0] in ended:
            begins.append((numbers_of(node)[0], position))
        elif is_marker(node, END):
            if begins and begins[-1][0] == numbers_of(node)[0]:  # a beginning goes if no value uses the step
                begins.pop()
        elif begins and any(positions[_origin(written)] <= begins[-1][1] for written in written_by(node)):
            raise UnsupportedModule(
                f"a step of scan writes to a tensor that it has not made ({node.target}). Make the tensor a part of "
                "the state, and let the step return its new value."
            )


def written_by(node: fx.Node) -> list[fx.Node]:
    """Give the tensors that a node of the captured program writes to."""
    if not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001
        return []
    schema = zip(node.target._schema.arguments, node.args, strict=False)  # noqa: SLF001
    return [
        value
        for argument, value in schema
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, fx.Node)
    ]


def viewed(node: fx.Node) -> fx.Node | None:
    """Give the node that `node` is a view of, or a part of; None if it is a tensor of its own."""
    source = node.args[0] if node.args else None
    schema = getattr(node.target, "_schema", None)
    is_view = schema is not None and any(result.alias_info is not None for result in schema.returns)
    return source if isinstance(source, fx.Node) and (is_view or node.target is operator.getitem) else None


def _origin(node: fx.Node) -> fx.Node:
    """Give the node whose result `node` is a view of, or a part of, or the node itself."""
    while (source := viewed(node)) is not None:
        node = source
    return node
