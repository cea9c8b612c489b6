"""Changes and checks of the captured program: writes, quotients of sizes, initial states of zeros, decomposition.

torch.onnx decomposes operators that it can't translate by tracing the whole program again, which takes longer than all
other steps together. In most programs no operator needs this, or only a few composite operators do, such as `reshape`,
`to` and the cells of recurrent layers. `decomposed_quickly` traces only these operators, in place. It leaves other
programs, for example with writes to tensors, to torch.
"""

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.proxy_tensor import make_fx

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import layer_operators
from rnnserve.export.recurrence.scan import BEGIN, END, is_marker, numbers_of
from rnnserve.export.torch_adapter import OpOverload, is_composite, schema_of, tree_flatten, tree_unflatten

__all__ = [
    "decomposed_quickly",
    "divide_sizes_exactly",
    "leave_stored_buffers",
    "refuse_writes",
    "remove_zero_states",
    "written_by",
]


def refuse_writes(graph: fx.Graph) -> None:
    """Refuse scan steps that write to a tensor from outside: in eager later steps see the write, but not in ONNX."""
    positions = {node: position for position, node in enumerate(graph.nodes)}
    # The step of a loop in the user's code is captured several times. A capture without an end marker is ignored.
    ended = {numbers_of(node)[0] for node in positions if is_marker(node, END)}
    begins: list[tuple[int, int]] = []  # number and position of each open scan
    for node, position in positions.items():
        if is_marker(node, BEGIN) and numbers_of(node)[0] in ended:
            begins.append((numbers_of(node)[0], position))
        elif is_marker(node, END):
            if begins and begins[-1][0] == numbers_of(node)[0]:  # a begin marker is missing if no value uses the step
                begins.pop()
        elif begins and any(positions[_origin(written)] <= begins[-1][1] for written in written_by(node)):
            raise UnsupportedModule(
                f"a step of scan writes to a tensor that it did not create ({node.target}). Make the tensor part of "
                "the state, and return its new value from the step."
            )


def written_by(node: fx.Node) -> list[fx.Node]:
    """Return the tensors that a node of the captured program writes to."""
    if not isinstance(node.target, OpOverload):
        return []
    schema = zip(schema_of(node.target).arguments, node.args, strict=False)
    return [
        value
        for argument, value in schema
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, fx.Node)
    ]


def _viewed(node: fx.Node) -> fx.Node | None:
    """Return the node that `node` is a view or a part of, or None if it is a separate tensor."""
    source = node.args[0] if node.args else None
    schema = getattr(node.target, "_schema", None)
    is_view = schema is not None and any(result.alias_info is not None for result in schema.returns)
    return source if isinstance(source, fx.Node) and (is_view or node.target is operator.getitem) else None


def _origin(node: fx.Node) -> fx.Node:
    """Return the node whose result `node` is a view or a part of, or the node itself."""
    while (source := _viewed(node)) is not None:
        node = source
    return node


def leave_stored_buffers(program: ExportedProgram) -> None:
    """Make a program write to none of its buffers. A module may write them for others to read, as in a count of calls.

    If the next call's results depend on a buffer, the buffer carries state, and `carried_state` refuses the module.
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
    """Erase the final copies that torch adds for `self.buffer = value`: the shapes of value and buffer may differ."""
    for node in reversed(graph.nodes):
        if node.op == "output":
            continue
        if node.target is not torch.ops.aten.copy_.default or node.args[0] not in stored or node.users:
            break
        graph.erase_node(node)


def _tensor_of(node: fx.Node) -> fx.Node:
    """Return the tensor that a node is a view of, or the node itself. Each result of a marker is a separate tensor."""
    while (source := _viewed(node)) is not None and not is_marker(source, BEGIN) and not is_marker(source, END):
        node = source
    return node


_ATEN = torch.ops.aten


def divide_sizes_exactly(program: ExportedProgram) -> None:
    """Write rounded quotients of sizes, `math.ceil(n / 4)`, as integer divisions, which are exact for any size.

    torch.onnx divides sizes in float32. It also rounds whole sizes with operators for floats, which have no kernel for
    integers.
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
    """Compute floor(n / k) or ceil(n / k) with integers, before a node. Return None for other expressions."""
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
# If the first argument of these operators is zeros, so is the result.
_KEEPS = (
    _ATEN.slice.Tensor, _ATEN.select.int, _ATEN.expand.default, _ATEN.unsqueeze.default, _ATEN.squeeze.dim,
    _ATEN.view.default, _ATEN.reshape.default, _ATEN.transpose.int, _ATEN.permute.default, _ATEN.contiguous.default,
    _ATEN.clone.default, _ATEN.to.dtype, _ATEN.to.device, _ATEN.to.dtype_layout, _ATEN.repeat.default,
    _ATEN.detach.default, _ATEN.detach_.default, _ATEN.alias.default, _ATEN.narrow.default,
    _ATEN.lift_fresh_copy.default,
)  # fmt: skip
_STATES = {layer_operators.RNN: (2,), layer_operators.GRU: (2,), layer_operators.LSTM: (2, 3)}


def remove_zero_states(graph: fx.Graph) -> None:
    """Replace initial states that are certainly zeros with None, the form in ONNX's recurrent operators, in place."""
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
    """Whether an operator may write to `value`, directly or through a view."""
    schemas = {user: schema_of(user.target) for user in value.users if isinstance(user.target, OpOverload)}
    return any(
        schema.is_mutable or (any(result.alias_info is not None for result in schema.returns) and _written(user))
        for user, schema in schemas.items()
    )


_CHECKS = ("aten._assert_", "aten.sym_constrain_range")
"""Operators that torch.onnx omits."""


@contextlib.contextmanager
def decomposed_quickly() -> Iterator[None]:
    """Let `torch.onnx.export` decompose quickly in the context. Exports in other threads also become quick.

    If a later torch moves the functions replaced here, exports only take longer.
    """
    try:
        from torch.onnx._internal.exporter import _fx_passes

        of_all = _fx_passes.decompose_with_registry
    except (ImportError, AttributeError):
        yield
        return

    def decompose(program: ExportedProgram, registry: Any) -> ExportedProgram:  # noqa: ANN401 - torch's
        translated = {translations[0].fx_target for translations in registry.functions.values()}
        is_quick = _decompose(program, translated)
        return program if is_quick else of_all(program, registry)

    _fx_passes.decompose_with_registry = decompose  # type: ignore[assignment]
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = of_all


def _decompose(program: ExportedProgram, translated: set[Any]) -> bool:
    """Decompose a program into translatable operators, in place. Return False if torch must do the rest."""
    nodes = [node for node in program.graph.nodes if not _stays(node, translated)]
    if not all(node.target in _CELLS or _is_view(node.target) for node in nodes):
        return False
    for node in nodes:
        for before, after in _decomposed(program.graph, node):
            before.replace_all_uses_with(after)
            program.graph_signature.replace_all_uses(before.name, after.name)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return all(_stays(node, translated) for node in program.graph.nodes)


def _stays(node: fx.Node, translated: set[Any]) -> bool:
    """Whether a node needs no decomposition."""
    target = node.target
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    if target is operator.getitem or str(target).startswith(_CHECKS):
        return True
    is_mutable = isinstance(target, OpOverload) and schema_of(target).is_mutable
    return target in translated and not is_mutable and not _is_view(target)


def _is_view(target: object) -> bool:
    """Whether an operator is composite, only returns a view of its input, and doesn't write to tensors."""
    if not isinstance(target, OpOverload) or schema_of(target).is_mutable or not is_composite(target):
        return False
    return any(result.alias_info is not None for result in schema_of(target).returns)


def _decomposed(graph: fx.Graph, node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Insert a node's decomposition before it. Yield each result's node and its replacement."""
    target = cast(OpOverload, node.target)
    leaves, structure = tree_flatten((node.args, node.kwargs))
    given = list(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, fx.Node)))

    def called(*values: Any) -> Any:  # noqa: ANN401 - tensors and sizes, and what the operator gives
        of_node = dict(zip(given, values, strict=True))
        passed = [of_node[leaf] if isinstance(leaf, fx.Node) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(passed, structure)
        return _CELLS.get(target, target)(*args, **kwargs)

    # Before dispatch, `linear` is one operator, and torch's composites aren't decomposed yet.
    inner = make_fx(called, pre_dispatch=target in _CELLS)(*(each.meta["val"] for each in given)).graph
    made = dict(zip(inner.find_nodes(op="placeholder"), given, strict=True))
    with graph.inserting_before(node):
        results: Any = graph.graph_copy(inner, made)
    for each in inner.nodes:
        if each in made and each.op != "placeholder":
            made[each].meta = {**node.meta, **each.meta}
    if isinstance(results, fx.Node):
        yield node, results
    else:
        for part in list(node.users):  # each part takes one result
            yield part, results[cast(int, part.args[1])]


def _gru_cell(x: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, *biases: Tensor | None) -> Tensor:
    """Compute (batch, hidden) from x (batch, features) and a state (batch, hidden), in torch's order."""
    b_ih, b_hh = biases or (None, None)
    of_input = torch.unsafe_split(F.linear(x, w_ih, b_ih), state.shape[1], 1)
    of_state = torch.unsafe_split(F.linear(state, w_hh, b_hh), state.shape[1], 1)
    reset = torch.sigmoid(of_state[0] + of_input[0])
    update = torch.sigmoid(of_state[1] + of_input[1])
    new = torch.tanh(of_input[2] + of_state[2] * reset)
    return (state - new) * update + new


def _lstm_cell(
    x: Tensor, states: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, *biases: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute both states (batch, hidden) from x (batch, features) and the previous states, in torch's order."""
    b_ih, b_hh = biases or (None, None)
    gates = F.linear(states[0], w_hh, b_hh) + F.linear(x, w_ih, b_ih)
    first, forget, new, last = torch.unsafe_split(gates, states[0].shape[1], 1)
    cell = torch.sigmoid(forget) * states[1] + torch.sigmoid(first) * torch.tanh(new)
    return torch.sigmoid(last) * torch.tanh(cell), cell


def _plain_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def cell(x: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, *biases: Tensor | None) -> Tensor:
        b_ih, b_hh = biases or (None, None)
        return activation(F.linear(state, w_hh, b_hh) + F.linear(x, w_ih, b_ih))

    return cell


_CELLS: dict[Any, Callable[..., Any]] = {
    _ATEN.gru_cell.default: _gru_cell,
    _ATEN.lstm_cell.default: _lstm_cell,
    _ATEN.rnn_tanh_cell.default: _plain_cell(torch.tanh),
    _ATEN.rnn_relu_cell.default: _plain_cell(torch.relu),
}
"""Decompositions of the cells of recurrent layers."""
