"""Changes and checks of the captured program: writes, quotients of sizes, and initial states that are zeros."""

import functools
import math
import operator
from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import InputKind

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import layer_operators
from rnnserve.export.recurrence.scan import BEGIN, END, is_marker, numbers_of
from rnnserve.export.torch_adapter import OpOverload, schema_of

__all__ = ["divide_sizes_exactly", "leave_stored_buffers", "refuse_writes", "remove_zero_states", "written_by"]


def refuse_writes(graph: fx.Graph) -> None:
    """Refuse steps of a scan that write to a tensor from outside: a later step sees it in eager, but not in ONNX."""
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
    if not isinstance(node.target, OpOverload):
        return []
    schema = zip(schema_of(node.target).arguments, node.args, strict=False)
    return [
        value
        for argument, value in schema
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, fx.Node)
    ]


def _viewed(node: fx.Node) -> fx.Node | None:
    """Give the node that `node` is a view of, or a part of; None if it is a tensor of its own."""
    source = node.args[0] if node.args else None
    schema = getattr(node.target, "_schema", None)
    is_view = schema is not None and any(result.alias_info is not None for result in schema.returns)
    return source if isinstance(source, fx.Node) and (is_view or node.target is operator.getitem) else None


def _origin(node: fx.Node) -> fx.Node:
    """Give the node whose result `node` is a view of, or a part of, or the node itself."""
    while (source := _viewed(node)) is not None:
        node = source
    return node


def leave_stored_buffers(program: torch.export.ExportedProgram) -> None:
    """Make a program write to none of its buffers, which a module may do for others to read: a count of calls.

    A buffer that the next call's results depend on carries a state, which `carried_state` refuses.
    """
    specs = program.graph_signature.input_specs
    names = {spec.arg.name for spec in specs if spec.kind is InputKind.BUFFER}
    nodes = list(program.graph.nodes)
    written = {_tensor_of(each) for node in nodes for each in written_by(node)}
    stored = [node for node in nodes if node.op == "placeholder" and node.name in names and node in written]
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


def _tensor_of(node: fx.Node) -> fx.Node:
    """Give the tensor that a node is a view of, or the node itself; each result of a marker is a tensor of its own."""
    while (source := _viewed(node)) is not None and not is_marker(source, BEGIN) and not is_marker(source, END):
        node = source
    return node


_ATEN = torch.ops.aten


def divide_sizes_exactly(program: torch.export.ExportedProgram) -> None:
    """Write rounded quotients of sizes, `math.ceil(n / 4)`, as divisions of integers, right for any size.

    torch.onnx divides sizes as float32, and rounds a size that is whole as a float, for which ONNX has no kernel.
    """
    graph = program.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in (math.ceil, math.floor, math.trunc):
            continue
        (given,) = node.args
        whole = given if _is_integer(given) else _whole_quotient(graph, node, given)
        if whole is not None:
            node.replace_all_uses_with(whole)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _whole_quotient(graph: fx.Graph, node: fx.Node, quotient: Any) -> fx.Node | None:  # noqa: ANN401 - of a node
    """Compute floor(n / k) or ceil(n / k) with integers, before a node; None where it is something else."""
    is_quotient = isinstance(quotient, fx.Node) and quotient.target is operator.truediv
    dividend, divisor = quotient.args if is_quotient else (None, None)
    if node.target is math.trunc or not _is_integer(dividend) or not isinstance(divisor, int) or divisor < 1:
        return None
    with graph.inserting_before(node):
        if node.target is math.ceil:
            dividend = _called(graph, operator.add, dividend, divisor - 1)
        return _called(graph, operator.floordiv, dividend, divisor)


def _called(graph: fx.Graph, function: Any, number: Any, by: int) -> fx.Node:  # noqa: ANN401 - of integers
    node = graph.call_function(function, (number, by))
    node.meta["val"] = function(number.meta["val"], by)
    return node


def _is_integer(node: Any) -> bool:  # noqa: ANN401 - an argument of a node
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return isinstance(value, int | torch.SymInt) and not isinstance(value, bool)


_ZEROS = (_ATEN.zeros.default, _ATEN.new_zeros.default, _ATEN.zeros_like.default)
_FULL = (_ATEN.full.default, _ATEN.new_full.default, _ATEN.full_like.default)
# Operators whose result is zeros if their first argument is.
_KEEPS = (
    _ATEN.slice.Tensor, _ATEN.select.int, _ATEN.expand.default, _ATEN.unsqueeze.default, _ATEN.squeeze.dim,
    _ATEN.view.default, _ATEN.reshape.default, _ATEN.transpose.int, _ATEN.permute.default, _ATEN.contiguous.default,
    _ATEN.clone.default, _ATEN.to.dtype, _ATEN.to.device, _ATEN.to.dtype_layout, _ATEN.repeat.default,
    _ATEN.detach.default, _ATEN.detach_.default, _ATEN.alias.default, _ATEN.narrow.default,
    _ATEN.lift_fresh_copy.default,
)  # fmt: skip
_STATES = {layer_operators.RNN: (2,), layer_operators.GRU: (2,), layer_operators.LSTM: (2, 3)}


def remove_zero_states(graph: fx.Graph) -> None:
    """Replace initial states that are certainly zeros by None, as ONNX's recurrent operators have them, in place."""
    for node in graph.nodes:
        for position in _STATES.get(node.target, ()):
            if _is_zeros(node.args[position]):
                node.update_arg(position, None)
    graph.eliminate_dead_code()


def _is_zeros(value: object) -> bool:
    if not isinstance(value, fx.Node) or _written(value):
        return False
    if value.target in _FULL:
        return bool(value.args[2 if value.target is _ATEN.new_full.default else -1] == 0)
    return value.target in _ZEROS or (value.target in _KEEPS and _is_zeros(value.args[0]))


def _written(value: fx.Node) -> bool:
    """Whether an operator may write to `value`, directly or through a view of it."""
    schemas = {user: schema_of(user.target) for user in value.users if isinstance(user.target, OpOverload)}
    return any(
        schema.is_mutable or (any(result.alias_info is not None for result in schema.returns) and _written(user))
        for user, schema in schemas.items()
    )
