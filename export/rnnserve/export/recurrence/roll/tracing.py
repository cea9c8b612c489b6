"""Tracing a module at fixed sizes: the operators that it calls, loops unrolled, with the product's own stand-ins.

A write to a tensor, or to a view of it, becomes a new value of the tensor.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from rnnserve.export.recurrence.capture import prepared
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes
from rnnserve.export.recurrence.program_passes import refuse_writes, written_by
from rnnserve.export.recurrence.refusals import NotRolled, explain, keeps_state, refuse_random_numbers
from rnnserve.export.recurrence.roll.simplification import SPLITS
from rnnserve.export.source_lines import line_of
from rnnserve.export.torch_adapter import (
    TreeSpec,
    computed_in,
    functional_of,
    is_of_a_transform,
    share_memory,
    tree_flatten,
    tree_unflatten,
)

__all__ = ["Traced", "make_functional", "traced"]


@dataclasses.dataclass(frozen=True)
class Traced:
    """A module as a graph, at fixed sizes."""

    graph: fx.Graph  # placeholders for parameters and buffers, then for tensors among the arguments; operators; results
    states: Mapping[str, Tensor]  # parameters and buffers by name, in the order of the placeholders
    constants: Mapping[str, Tensor]  # other tensors by the targets of nodes
    results: TreeSpec  # structure of the results


def traced(module: nn.Module, args: Arguments, axes: DynamicAxes) -> Traced:
    """Trace a module with arguments of these sizes."""
    states: dict[str, Tensor] = {
        name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    leaves, structure = tree_flatten(args)
    at = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    specs: list[TreeSpec] = []

    def called(given: list[Tensor], tensors: list[Tensor]) -> list[Any]:
        passed = list(leaves)
        for number, tensor in zip(at, tensors, strict=True):
            passed[number] = tensor
        own = dict(zip(states, given, strict=True))
        flat, spec = tree_flatten(torch.func.functional_call(module, own, tree_unflatten(passed, structure)))
        specs.append(spec)
        return flat

    trace = make_fx(
        called, tracing_mode="fake", pre_dispatch=True, record_stack_traces=True, _allow_non_fake_inputs=True
    )
    try:
        with prepared(module) as held:
            found = trace(list(states.values()), [leaves[number] for number in at])
    except Exception as error:  # torch's errors and the module's own: `explain` has a message for each
        raise explain(error, module, axes, {}) from error
    if held.asked & held.changed:
        raise keeps_state(held.asked & held.changed)
    refuse_random_numbers(found.graph, module)
    constants = {node.target: getattr(found, node.target) for node in found.graph.nodes if node.op == "get_attr"}
    return Traced(found.graph, states, constants, specs[0])


_ATEN = torch.ops.aten


def make_functional(program: Traced) -> None:
    """Replace the writes of a program, in place."""
    if any(map(is_of_a_transform, program.constants.values())):
        raise NotRolled("the module makes a tensor in torch.vmap or another transform, within its loop or elsewhere")
    refuse_writes(program.graph)
    nodes = list(program.graph.nodes)
    if not any(written_by(node) for node in nodes):
        return
    writes = _Writes(program.graph)
    for node in nodes:
        writes.visit(node)
    program.graph.eliminate_dead_code()


class _Writes:
    """What stands for each tensor after the writes so far.

    Attributes:
        values: By a tensor that has been written to, its value.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self.values: dict[fx.Node, fx.Node] = {}
        self._sources: dict[fx.Node, fx.Node] = {}  # of views
        self._versions: dict[fx.Node, int] = {}  # numbers of writes so far, of tensors
        self._made: dict[fx.Node, int] = {}  # the number at which a view was made
        self._again: dict[tuple[fx.Node, int], fx.Node] = {}  # views made again

    def visit(self, node: fx.Node) -> None:
        """Let a node read what has been written, and note what it writes."""
        written = written_by(node)
        given = node.args[0] if node.args else None
        given = (
            given[0] if isinstance(given, list | tuple) and given and node.target is not torch.ops.aten.cat else given
        )
        node.args = fx.map_arg(node.args, lambda each: self._read(each, node))
        node.kwargs = fx.map_arg(node.kwargs, lambda each: self._read(each, node))
        if written:
            self._write_of(node, written[0])
        elif isinstance(given, fx.Node) and self._is_view(node, given):
            self._sources[node] = given
            self._made[node] = self._versions.get(self._base(node), 0)

    def _is_view(self, node: fx.Node, source: fx.Node) -> bool:
        one, other = node.meta.get("val"), source.meta.get("val")
        if isinstance(one, list | tuple) and one and isinstance(one[0], Tensor):  # as unbind and split give
            one = one[0]
        if isinstance(other, list | tuple) and other and isinstance(other[0], Tensor):
            other = other[0]
        return isinstance(one, Tensor) and isinstance(other, Tensor) and share_memory(one, other)

    def _base(self, node: fx.Node) -> fx.Node:
        while node in self._sources:
            node = self._sources[node]
        return node

    def _read(self, node: fx.Node, at: fx.Node) -> fx.Node:
        """Give the value of a tensor or of a view before a node."""
        base = self._base(node)
        version = self._versions.get(base, 0)
        if node is base:
            return self.values.get(node, node)
        if self._made.get(node, 0) == version:
            return node
        if (node, version) not in self._again:
            source = self._read(self._sources[node], at)
            self._again[node, version] = self._copied(at, node, node.target, (source, *node.args[1:]), node.kwargs)
        return self._again[node, version]

    def _copied(self, at: fx.Node, like: fx.Node, target: Any, args: Any, kwargs: Any = {}) -> fx.Node:  # noqa: ANN401, B006
        with self.graph.inserting_before(at):
            new = self.graph.call_function(target, args, dict(kwargs))
        new.meta = dict(like.meta)
        return new

    def _write_of(self, node: fx.Node, written: fx.Node) -> None:
        """Replace an operator that writes to its first argument."""
        target = functional_of(node.target)
        if target is None or node.args[0] is not self._read(written, node):
            raise NotRolled(f"the module writes to a tensor by {node.target}{line_of(node)}, which has no other form")
        value = self._copied(node, node, target, node.args, node.kwargs)
        value.meta["val"] = node.meta["val"]
        self._write(written, value, node)
        node.replace_all_uses_with(written)
        self.graph.erase_node(node)

    def _write(self, node: fx.Node, value: fx.Node, at: fx.Node) -> None:
        """Note a new value of a tensor or of a view."""
        if node not in self._sources:
            self.values[node] = value
            self._versions[node] = self._versions.get(node, 0) + 1
            return
        source = self._sources[node]
        inverse = _INVERSES.get(node.target)
        if inverse is None:
            if source.target in SPLITS or source.target is _ATEN.unbind.int:
                self._write_part(node, source, value, at)
                return
            raise NotRolled(f"the module writes to a view by {node.target}{line_of(at)}; write to the tensor itself")
        before = self._read(source, at)
        target, args = inverse(node, before, value)
        self._write(source, self._meta_of(self._copied(at, at, target, args)), at)

    def _write_part(self, node: fx.Node, parts: fx.Node, value: fx.Node, at: fx.Node) -> None:
        """Write to one of the parts that unbind or split give."""
        source = self._sources[parts]
        before = self._read(source, at)
        number: Any = node.args[1]
        is_unbind = parts.target is _ATEN.unbind.int
        position = 1 if is_unbind else 2
        dim: Any = parts.args[position] if len(parts.args) > position else parts.kwargs.get("dim", 0)
        if is_unbind:
            new = self._copied(at, at, _ATEN.select_scatter.default, (before, value, dim, number))
        else:
            sizes = [part.shape[dim] for part in parts.meta["val"]]
            start = sum(sizes[:number])
            new = self._copied(at, at, _ATEN.slice_scatter.default, (before, value, dim, start, start + sizes[number]))
        self._write(source, self._meta_of(new), at)

    def _meta_of(self, node: fx.Node) -> fx.Node:
        node.meta["val"] = computed_in(node)
        return node


def _inverse(target: Any) -> Callable[[fx.Node, fx.Node, fx.Node], tuple[Any, Any]]:  # noqa: ANN401
    """Write to a view by an operator that takes the tensor, the view's value, and some arguments of the view."""
    return lambda view, before, value: (target, (before, value, *view.args[1:]))


_INVERSES: dict[Any, Callable[[fx.Node, fx.Node, fx.Node], tuple[Any, Any]]] = {
    _ATEN.select.int: _inverse(_ATEN.select_scatter.default),
    _ATEN.slice.Tensor: _inverse(_ATEN.slice_scatter.default),
    _ATEN.narrow.default: lambda view, before, value: (
        _ATEN.slice_scatter.default,
        (before, value, view.args[1], view.args[2], view.args[2] + view.args[3]),  # type: ignore[operator]
    ),
    _ATEN.diagonal.default: _inverse(_ATEN.diagonal_scatter.default),
    _ATEN.transpose.int: lambda view, _, value: (_ATEN.transpose.int, (value, *view.args[1:])),
    _ATEN.t.default: lambda _, __, value: (_ATEN.t.default, (value,)),
    _ATEN.unsqueeze.default: lambda view, _, value: (_ATEN.squeeze.dim, (value, view.args[1])),
    **dict.fromkeys(
        (
            _ATEN.squeeze.dim,
            _ATEN.view.default,
            _ATEN.reshape.default,
            _ATEN.flatten.using_ints,
            _ATEN.squeeze.default,
        ),
        lambda _, before, value: (_ATEN.reshape.default, (value, list(before.meta["val"].shape))),
    ),
    **dict.fromkeys(
        (
            _ATEN.alias.default,
            _ATEN.detach.default,
            _ATEN.contiguous.default,
            _ATEN.to.dtype,
            _ATEN.to.dtype_layout,
            _ATEN.to.device,
            _ATEN.to.other,
        ),
        lambda _, __, value: (_ATEN.alias.default, (value,)),
    ),
}
"""By the operator of a view, how a tensor is computed from its value before and the view's new value."""
