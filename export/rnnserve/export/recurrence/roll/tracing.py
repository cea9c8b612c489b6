"""Tracing a module at fixed sizes: the operators that it calls, with loops unrolled and our own stand-ins.

Every index in such a program is a number. So `simplify` can replace a read with the value that was written: if a step
reads `state[:, 2]` after `state[:, 2] = h`, it reads `h`. In-place changes, aliases and lists need no other rules.
"""

import dataclasses
import itertools
import operator
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from rnnserve.export.recurrence.capture import prepared
from rnnserve.export.recurrence.dynamic_axes import Argument, Arguments, DynamicAxes
from rnnserve.export.recurrence.program_passes import refuse_writes, written_by
from rnnserve.export.recurrence.refusals import NotRolled, explain, keeps_state, refuse_random_numbers
from rnnserve.export.source_lines import is_users_code, line_of
from rnnserve.export.torch_adapter import (
    Recorder,
    TreeSpec,
    computed_in,
    internal,
    is_of_a_transform,
    tree_flatten,
    tree_unflatten,
    without_writes,
)

__all__ = ["Clamped", "Shape", "Traced", "shape_of", "simplify", "traced"]


@dataclasses.dataclass(frozen=True)
class Traced:
    """A module as a graph, at fixed sizes."""

    graph: fx.Graph  # placeholders for parameters and buffers, then for the arguments' tensors; operators; results
    states: Mapping[str, Tensor]  # parameters and buffers by name, in the order of the placeholders
    constants: Mapping[str, Tensor]  # other tensors, by node target
    results: TreeSpec  # structure of the results


def traced(module: nn.Module, args: Arguments, axes: DynamicAxes) -> Traced:
    """Trace a module with arguments of these sizes. Writes to tensors become new values."""
    states: dict[str, Tensor] = {
        name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    leaves, structure = tree_flatten(args)
    at = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    specs: list[TreeSpec] = []

    def called(given: Sequence[Tensor]) -> list[Any]:
        passed = list(leaves)
        for number, tensor in zip(at, given[len(states) :], strict=True):
            passed[number] = tensor
        own = dict(zip(states, given, strict=False))
        flat, spec = tree_flatten(torch.func.functional_call(module, own, tree_unflatten(passed, structure)))
        specs.append(spec)
        return flat

    found = Recorder([*states.values(), *(leaves[number] for number in at)], _line)
    try:
        with prepared(module) as held:
            found.record(called)
    except Exception as error:  # torch's errors and the module's own: `explain` has a message for each
        raise explain(error, module, axes, {}) from error
    if held.asked & held.changed:
        raise keeps_state(held.asked & held.changed)
    refuse_random_numbers(found.graph, module)
    if any(map(is_of_a_transform, found.constants.values())):
        raise NotRolled("the module creates a tensor in torch.vmap or another transform, inside its loop or elsewhere")
    refuse_writes(found.graph)
    if any(written_by(node) for node in found.graph.nodes):
        whole = fx.GraphModule(found.constants, found.graph)
        found = Recorder(found.inputs, _line)
        with torch.no_grad():
            found.record(without_writes(whole))
    return Traced(found.graph, states, found.constants, specs[0])


def _line() -> str:
    """Return the current line of user code, in the format of torch's stack traces."""
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to find the caller
    while frame is not None and not is_users_code(frame.f_code.co_filename):
        frame = frame.f_back
    return (
        "" if frame is None else f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'
    )


_ATEN = torch.ops.aten

Shape = tuple[Any, ...] | str
"""Sizes and types of a value, for comparison with another step."""

_SAME = {
    _ATEN.alias.default,
    _ATEN.clone.default,
    _ATEN.contiguous.default,
    _ATEN.detach.default,
    _ATEN.detach_.default,
    _ATEN.lift_fresh.default,
    _ATEN.lift_fresh_copy.default,
}
"""Operators that return their argument's values. The program is functional, so nothing writes to either."""

_CHECKS = {
    internal("_assert_async", "msg"),
    internal("_assert_scalar"),
    internal("_assert_tensor_metadata"),
    _ATEN.sym_constrain_range.default,
    _ATEN.sym_constrain_range_for_size.default,
}
_SPLITS = {
    _ATEN.chunk.default,
    _ATEN.split.Tensor,
    _ATEN.split.sizes,
    _ATEN.split_with_sizes.default,
    _ATEN.tensor_split.sections,
    _ATEN.unsafe_chunk.default,
    _ATEN.unsafe_split.Tensor,
}


_MANY = 4  # consecutive reads or writes; the shortest trace has as many for every second step


class Clamped(NamedTuple):
    """A slice that ends beyond its axis, so that it has another length at other sizes of the axis."""

    line: str  # line of user code, " (at file.py:12)"
    bound: int  # index at which the slice begins or ends


def simplify(graph: fx.Graph) -> list[Clamped]:
    """Simplify the graph of a functional program, in place, and return the slices that end beyond their axis.

    Afterwards, writes covered by later writes are gone, reads skip writes to other places, each part of a split is a
    select or a slice, nested `cat` operators are merged, and every node is used.
    """
    simplifier = _Simplifier(graph)
    for node in list(graph.nodes):
        if node.target in _CHECKS:
            graph.erase_node(node)
        elif node.op == "call_function":
            simplifier.visit(node)
    graph.eliminate_dead_code()
    for node in reversed(list(graph.nodes)):
        if node.target is _ATEN.select_scatter.default:
            _stack_writes(simplifier, node)
    graph.eliminate_dead_code()
    _read_where_used(graph)
    return simplifier.clamped


def _stack_writes(simplifier: "_Simplifier", last: fx.Node) -> None:
    """Replace many writes to consecutive steps of a tensor, without reads in between, with one `stack`."""
    dim = last.args[2]
    written: dict[int, fx.Node] = {}
    source: Any = last
    while source.target is _ATEN.select_scatter.default and source.args[2] == dim:
        if source is not last and len(source.users) > 1:
            break
        written.setdefault(source.args[3], source.args[1])
        source = source.args[0]
    if len(written) < _MANY or {one - two for one, two in itertools.pairwise(written)} not in ({1}, {-1}):
        return
    min(last.users).prepend(last)  # after the rest of the last step, which must be next to the other steps
    low, high = min(written), max(written) + 1
    stacked = simplifier.make(last, _ATEN.stack.default, [written[at] for at in range(low, high)], dim)
    parts = [(0, low), (low, high), (high, _shape(source)[dim])]
    whole = [
        stacked if start == low and end == high else simplifier.make(last, _ATEN.slice.Tensor, source, dim, start, end)
        for start, end in parts
        if start < end
    ]
    last.replace_all_uses_with(whole[0] if len(whole) == 1 else simplifier.make(last, _ATEN.cat.default, whole, dim))


def _read_where_used(graph: fx.Graph) -> None:
    """If many steps of a tensor are read together, as by `x.unbind(1)`, move each read to right before its first use.

    They then belong to the loop's copies that use them, as reads by `x[:, t]` do. In a loop that keeps a window of
    steps, the steps of the last window have fewer uses. Other reads stay: a first step read before the loop isn't part
    of it, and steps used as `steps[t]` and `steps[t + 1]` belong to neither iteration.
    """
    for _, group in itertools.groupby(list(graph.nodes), key=_read_tensor):
        reads = list(group)
        uses = [tuple(user.target for user in sorted(node.users)) for node in reads]
        most = max((uses[0], uses[-1]), key=len)
        alike = all(each == most[: len(each)] for each in uses)
        if len(reads) >= _MANY and reads[0].target is _ATEN.select.int and alike:
            for node in reversed(reads):
                min(node.users).prepend(node)  # nodes are in the order of the graph


def _read_tensor(node: fx.Node) -> object:
    """Return the tensor that a node reads a step of, or None for other nodes."""
    return node.args[0] if node.target is _ATEN.select.int else None


def shape_of(value: object) -> Shape:
    """Describe a value of a program: sizes and dtype of a tensor, a tuple for several values, or the type's name."""
    if isinstance(value, Tensor):
        return (*map(str, value.shape), value.dtype)
    if isinstance(value, list | tuple):
        return tuple(map(shape_of, value))
    return type(value).__name__


class _Part(NamedTuple):
    """A slice along an axis, with start and end from 0 to the axis's size."""

    dim: int
    start: int
    end: int
    step: int


class _Simplifier:
    """Visits nodes in order, so that a node's arguments are already simplified."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self.clamped: list[Clamped] = []

    def visit(self, node: fx.Node) -> fx.Node:
        """Simplify a node, and return its replacement, which is usually the node itself."""
        rule = _same if node.target in _SAME else _RULES.get(node.target)
        new: fx.Node | None = rule(self, node) if rule is not None else None
        if new is None or new is node:
            return node
        node.replace_all_uses_with(new)
        if not node.users:
            self.graph.erase_node(node)
        return new

    def make(self, at: fx.Node, target: Any, *args: Any) -> fx.Node:  # noqa: ANN401 - an operator
        """Make a simplified node before another node."""
        with self.graph.inserting_before(at):
            new = self.graph.call_function(target, args)
        new.meta["val"] = computed_in(new)
        new.meta |= {key: value for key, value in at.meta.items() if key in ("stack_trace", "nn_module_stack")}
        return self.visit(new)

    def part(self, node: fx.Node, first: int) -> _Part | None:
        """Return the part that a slice or slice_scatter selects, or None along an axis with a dynamic size."""
        dim = _dim(node, first)
        size = _shape(node.args[0])[dim]
        start, end, step = (*node.args[first + 1 :], None, None, None)[:3]
        if not isinstance(size, int) or not all(isinstance(each, int | None) for each in (start, end, step)):
            return None
        over = [each for each in (start, end) if isinstance(each, int) and size < abs(each) < sys.maxsize]
        self.clamped.extend(Clamped(line_of(node), abs(each)) for each in over)
        start, end, _ = slice(start, end).indices(size)
        return _Part(dim, start, max(start, end), step if isinstance(step, int) else 1)


def _shape(node: Any) -> Any:  # noqa: ANN401 - an argument of a node
    return node.meta["val"].shape


def _alike(one: Argument, other: Argument) -> bool:
    return shape_of(one.meta["val"]) == shape_of(other.meta["val"])


def _dim(node: fx.Node, position: int) -> int:
    """Return the (non-negative) axis among the arguments of a node."""
    dim: Any = node.args[position] if len(node.args) > position else node.kwargs.get("dim", 0)
    return dim % len(_shape(node.args[0]))  # type: ignore[no-any-return]


def _same(_: _Simplifier, node: fx.Node) -> Argument:
    return node.args[0]


def _copy(_: _Simplifier, node: fx.Node) -> Argument:
    to, source = node.args[:2]
    return source if isinstance(source, fx.Node) and isinstance(to, fx.Node) and _alike(source, to) else None


def _to(_: _Simplifier, node: fx.Node) -> Argument:
    return node.args[0] if _alike(node.args[0], node) else None


def _view(_: _Simplifier, node: fx.Node) -> None:
    """Use reshape, because in a rolled program the argument may have another memory layout."""
    node.target = _ATEN.reshape.default


def _slice(of: _Simplifier, node: fx.Node) -> Argument:
    source: Any = node.args[0]
    part = of.part(node, 1)
    if _alike(source, node) and (part is None or part.step == 1):
        return source
    if part is None:
        return None
    if part.end - part.start == 1:
        selected = of.make(node, _ATEN.select.int, source, part.dim, part.start)
        return of.make(node, _ATEN.unsqueeze.default, selected, part.dim)
    node.args = (source, *part)
    return None


def _narrow(of: _Simplifier, node: fx.Node) -> Argument:
    source, _, start, length, *_ = node.args
    if not isinstance(start, int) or not isinstance(length, int):
        return None
    dim = _dim(node, 1)
    start += _shape(source)[dim] if start < 0 else 0
    return of.make(node, _ATEN.slice.Tensor, source, dim, start, start + length)


def _slice_scatter(of: _Simplifier, node: fx.Node) -> Argument:
    source, value = node.args[:2]
    part = of.part(node, 2)
    if _alike(value, source) and (part is None or part.step == 1):
        return value
    if part is None:
        return None
    if part.end - part.start == 1 and part.step == 1:
        squeezed = of.make(node, _ATEN.squeeze.dim, value, part.dim)
        return of.make(node, _ATEN.select_scatter.default, source, squeezed, part.dim, part.start)
    node.args = (source, value, *part)
    return None


def _select(of: _Simplifier, node: fx.Node) -> Argument:
    source: Any = node.args[0]
    dim, index = _dim(node, 1), _index(node, 2, 1)
    if index is None:
        return None
    while True:  # find the value written there, or the value from before other writes
        target, rank = source.target, len(_shape(source))
        if target is _ATEN.select_scatter.default and _dim(source, 2) == dim and isinstance(source.args[3], int):
            if source.args[3] == index:
                return source.args[1]
        elif target is _ATEN.slice_scatter.default and _dim(source, 2) == dim and (part := of.part(source, 2)):
            if part.step != 1:
                break
            if part.start <= index < part.end:
                return of.make(node, _ATEN.select.int, source.args[1], dim, index - part.start)
        elif target is _ATEN.unsqueeze.default and source.args[1] % rank == dim:
            return source.args[0]
        elif target is _ATEN.stack.default and (source.args[1] if len(source.args) > 1 else 0) % rank == dim:
            return source.args[0][index]
        else:
            break
        source = source.args[0]
    node.args = (source, dim, index)
    return None


def _index(node: fx.Node, position: int, of_dim: int) -> int | None:
    """Return the (non-negative) index among the arguments of a node, or None if it or the axis is dynamic."""
    index: Any = node.args[position]
    size = _shape(node.args[0])[_dim(node, of_dim)]
    if not isinstance(index, int) or (index < 0 and not isinstance(size, int)):
        return None
    return index + size if index < 0 else index


def _select_scatter(of: _Simplifier, node: fx.Node) -> Argument:
    source: Any = node.args[0]
    dim, index = _dim(node, 2), _index(node, 3, 2)
    if index is None:
        return None
    others, at = [], source  # writes to other places, latest first
    while at.target is _ATEN.select_scatter.default and at.args[2] == dim and at.args[3] != index:
        others.append(at)
        at = at.args[0]
    if at.target is _ATEN.select_scatter.default and at.args[2] == dim:  # an earlier write to the same place
        source = at.args[0]
        for each in reversed(others):
            source = of.make(node, _ATEN.select_scatter.default, source, *each.args[1:])
    node.args = (source, node.args[1], dim, index)
    return None


def _squeeze(_: _Simplifier, node: fx.Node) -> Argument:
    source, dim = node.args
    if isinstance(source, fx.Node) and source.target is _ATEN.unsqueeze.default and isinstance(dim, int):
        rank = len(_shape(source))
        added: Any = source.args[1]
        return source.args[0] if dim % rank == added % rank else None
    return None


def _getitem(of: _Simplifier, node: fx.Node) -> Argument:
    source, number = node.args
    if not isinstance(source, fx.Node) or not isinstance(number, int):
        return None
    if source.target is _ATEN.unbind.int:
        return of.make(node, _ATEN.select.int, source.args[0], _dim(source, 1), number)
    if source.target in _SPLITS:
        dim = _dim(source, 2)
        sizes = [part.shape[dim] for part in source.meta["val"]]
        if all(isinstance(size, int) for size in sizes):
            start = sum(sizes[:number])
            return of.make(node, _ATEN.slice.Tensor, source.args[0], dim, start, start + sizes[number])
    return None


def _cat(_: _Simplifier, node: fx.Node) -> None:
    rank = len(_shape(node))
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    parts: list[Any] = []
    given: Any = node.args[0]
    for part in given:
        if rank > 1 and tuple(_shape(part)) == (0,):  # torch ignores such parts
            continue
        whole = part.target is _ATEN.cat.default and part.args[1] == dim % rank
        parts.extend(part.args[0] if whole else [part])
    node.target, node.args, node.kwargs = _ATEN.cat.default, (parts, dim % rank), {}


_RULES: dict[Any, Callable[[_Simplifier, fx.Node], Any]] = {
    _ATEN.cat.default: _cat,
    _ATEN.concat.default: _cat,
    _ATEN.concatenate.default: _cat,
    _ATEN.copy.default: _copy,
    _ATEN.narrow.default: _narrow,
    _ATEN.select.int: _select,
    _ATEN.select_scatter.default: _select_scatter,
    _ATEN.slice.Tensor: _slice,
    _ATEN.slice_scatter.default: _slice_scatter,
    _ATEN.squeeze.dim: _squeeze,
    _ATEN.to.dtype: _to,
    _ATEN.view.default: _view,
    internal("_unsafe_view"): _view,
    operator.getitem: _getitem,
}
