"""Decomposing programs for `torch.onnx.export` without a trace of the whole.

torch.onnx decomposes the operators that it can't translate by tracing the whole program again, which takes longer than
all the rest. In most programs no operator needs it, or only some composite ones do, such as `reshape`, `to` and the
cells of recurrent layers. Here, each of these is traced alone, in place. A program with others, such as writes to
tensors, is left to torch.
"""

import contextlib
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from rnnserve.export.torch_adapter import OpOverload, is_composite, schema_of, tree_flatten, tree_unflatten

__all__ = ["decomposed_quickly"]

_ATEN = torch.ops.aten
_CHECKS = ("aten._assert_", "aten.sym_constrain_range")
"""Operators that torch.onnx leaves out."""


@contextlib.contextmanager
def decomposed_quickly() -> Iterator[None]:
    """Let `torch.onnx.export` decompose quickly in the context; exports of other threads are quick, too.

    If a later torch has its parts elsewhere, exports only take longer.
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
    """Make a program one of operators that are translated, in place; False if torch has to do the rest."""
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


def _stays(node: Node, translated: set[Any]) -> bool:
    """Whether a node needs no decomposition."""
    target = node.target
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    if target is operator.getitem or str(target).startswith(_CHECKS):
        return True
    is_mutable = isinstance(target, OpOverload) and schema_of(target).is_mutable
    return target in translated and not is_mutable and not _is_view(target)


def _is_view(target: object) -> bool:
    """Whether an operator is a composite one that gives its input in another form, and writes to no tensor."""
    if not isinstance(target, OpOverload) or schema_of(target).is_mutable or not is_composite(target):
        return False
    return any(result.alias_info is not None for result in schema_of(target).returns)


def _decomposed(graph: Graph, node: Node) -> Iterator[tuple[Node, Node]]:
    """Put what a node is made of before it; give the node of each result, and the node that takes its place."""
    target = cast(OpOverload, node.target)
    leaves, structure = tree_flatten((node.args, node.kwargs))
    given = list(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, Node)))

    def called(*values: Any) -> Any:  # noqa: ANN401 - tensors and sizes, and what the operator gives
        of_node = dict(zip(given, values, strict=True))
        passed = [of_node[leaf] if isinstance(leaf, Node) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(passed, structure)
        return _CELLS.get(target, target)(*args, **kwargs)

    # Before dispatch, `linear` is one operator; torch's own composites are not yet taken apart.
    inner = make_fx(called, pre_dispatch=target in _CELLS)(*(each.meta["val"] for each in given)).graph
    made = dict(zip(inner.find_nodes(op="placeholder"), given, strict=True))
    with graph.inserting_before(node):
        results: Any = graph.graph_copy(inner, made)
    for each in inner.nodes:
        if each in made and each.op != "placeholder":
            made[each].meta = {**node.meta, **each.meta}
    if isinstance(results, Node):
        yield node, results
    else:
        for part in list(node.users):  # each takes one result
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
    """Compute both states (batch, hidden) from x (batch, features) and the states before, in torch's order."""
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
"""What the cells of recurrent layers compute, operator by operator."""
