"""`data` of a packed sequence in a captured program: an operator, its inverse, and a check of what is between them.

Eager has the values sorted by length, without padding. A captured program has those of all steps: it has more, in
another order. So only what is computed of each value by itself is the same, and only in a `PackedSequence` that is
packed alike. `PackedSequence(self.dropout(p.data), p.batch_sizes, …)` is the usual form. `_keeps_apart` has the others.
"""

import operator
from typing import Any, NoReturn, TypeAlias, cast

import torch
from onnxscript import opset20 as op
from torch import Tensor, fx

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.source_lines import line_of

__all__ = ["DATA", "FILL", "PAD_FIRST", "check_packed_values", "translate_data", "translate_fill"]

Value: TypeAlias = Any  # an onnx_ir.Value; onnxscript types its operators by what they compute

PAD_FIRST = (
    "Pad first: call pad_packed_sequence, compute with the padded tensor, and pack it again with the same lengths."
)

_ATEN = torch.ops.aten
_COPIES = {_ATEN.alias, _ATEN.clone, _ATEN.contiguous, _ATEN.detach, _ATEN.to}
_DROPOUTS = {
    *(_ATEN.alpha_dropout, _ATEN.dropout, _ATEN.feature_alpha_dropout, _ATEN.feature_dropout),
    *(_ATEN.alpha_dropout_, _ATEN.dropout_, _ATEN.feature_alpha_dropout_, _ATEN.feature_dropout_),
}
"""Of modules that are not in training: they write nothing."""
_ASSERTIONS = {
    *(_ATEN._assert_scalar.default, _ATEN._assert_tensor_metadata.default),  # noqa: SLF001 - as torch.export writes them
    _ATEN.sym_constrain_range_for_size.default,
}
_BOUNDS = {_ATEN.sym_size.int, operator.ge, operator.le}
_OF_VALUES = {_ATEN.embedding: (1, 0), _ATEN.linear: (0, 1), _ATEN.layer_norm: (0, None)}
"""Operators with weights: which argument has the values, and how many of the last axes of it are taken together."""


@torch.library.custom_op("rnnserve::packed_data", mutates_args=())
def _data(steps: Tensor, lengths: Tensor, like: Tensor | None) -> Tensor:
    """Flatten steps (sequence, batch, …) to (values, …).

    Args:
        steps: Values of a packed sequence.
        lengths: (batch,) int64. They say whether two sequences are packed alike.
        like: Other data of as many values, (values, …), where there is some: the axis has the same symbol then.
    """
    del lengths, like
    return steps.flatten(0, 1).clone()


@_data.register_fake
def _data_shapes(steps: Tensor, lengths: Tensor, like: Tensor | None) -> Tensor:
    del lengths
    values = torch.library.get_ctx().new_dynamic_size(min=1) if like is None else like.shape[0]
    return steps.new_empty((values, *steps.shape[2:]))


@torch.library.custom_op("rnnserve::packed_fill", mutates_args=())
def _fill(data: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    """Unflatten data (values, …) to (sequence, batch, …), the sizes of `steps`. Lengths are (batch,) int64."""
    del lengths
    return data.reshape(*steps.shape[:2], *data.shape[1:]).clone()


@_fill.register_fake
def _fill_shapes(data: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    return data.new_empty((*steps.shape[:2], *data.shape[1:]))


def translate_data(steps: Value, lengths: Value, like: Value = None) -> Value:
    """Translate to Reshape, which joins the first two axes."""
    del lengths, like
    joined: Value = op.Constant(value_ints=[-1])
    return op.Reshape(steps, op.Concat(joined, op.Shape(steps, start=2), axis=0))


def translate_fill(data: Value, steps: Value, lengths: Value) -> Value:
    """Translate to Reshape, which divides the first axis."""
    del lengths
    return op.Reshape(data, op.Concat(op.Shape(steps, end=2), op.Shape(data, start=1), axis=0))


DATA = torch.ops.rnnserve.packed_data.default
FILL = torch.ops.rnnserve.packed_fill.default


def check_packed_values(program: torch.export.ExportedProgram) -> None:
    """Refuse a program that computes with packed values otherwise than with each by itself.

    Raises:
        UnsupportedModule: If it does. The message names the operator and the user's line.
    """
    for part in program.graph_module.modules():
        if isinstance(part, fx.GraphModule):
            orders: dict[Any, object] = {}  # of nodes that hold packed values: how these are packed
            for node in part.graph.nodes:
                _check(node, orders)


def _check(node: fx.Node, orders: dict[Any, object]) -> None:
    holding = [each for each in node.all_input_nodes if each in orders]
    if node.target is DATA and not (holding and holding != [node.args[2]]):
        orders[node] = _order(*node.args[:2])
    elif node.target is FILL:
        data, *packed = node.args
        if holding != [data] or orders[data] != _order(*packed):
            _refuse(f"the module makes a PackedSequence{line_of(node)} of values that are not packed alike")
    elif holding and not _is_asserted(node):
        if node.op == "output":
            _refuse(f"the module returns `data` of a PackedSequence{line_of(holding[0])}, or what it computes of it")
        if len({orders[each] for each in holding}) > 1 or not _keeps_apart(node, holding):
            what = str(getattr(node.target, "_opname", node.target)).removeprefix("sym_")
            _refuse(f"{what}{line_of(node)} computes with `data` of a PackedSequence")
        orders[node] = orders[holding[0]]


def _refuse(what: str) -> NoReturn:
    raise UnsupportedModule(
        f"{what}. Eager has the values of a PackedSequence sorted by length and without padding, an exported module "
        "those of all steps. Only dropout, nn.Linear, nn.Embedding, nn.LayerNorm, activations and sums of values give "
        f"the same, in a PackedSequence with the batch_sizes and indices of the one before. {PAD_FIRST}"
    )


def _order(steps: Any, lengths: Any) -> object:  # noqa: ANN401 - arguments of a node
    """Tell how values are packed: by the tensor that the lengths are, or are a copy of, and by the sizes."""
    while getattr(lengths.target, "overloadpacket", None) in _COPIES:
        source = lengths.args[0]
        if source.meta["val"].dtype != lengths.meta["val"].dtype:
            break
        lengths = source
    return lengths, str(steps.meta["val"].shape[:2])


def _is_asserted(node: fx.Node) -> bool:
    """Whether a node compares the number of the values with a bound, as torch.export does."""
    return node.target in _ASSERTIONS or (node.target in _BOUNDS and all(map(_is_asserted, node.users)))


def _keeps_apart(node: fx.Node, holding: list[fx.Node]) -> bool:
    """Whether an operator computes each result of one value alone, and writes to none."""
    target, result, given = node.target, node.meta.get("val"), cast(tuple[Any, ...], node.args)
    if not isinstance(target, torch._ops.OpOverload) or not isinstance(result, Tensor):  # noqa: SLF001
        return False
    kind, axes = target.overloadpacket, result.dim()
    if target._schema.is_mutable and kind not in _DROPOUTS:  # noqa: SLF001
        return False
    if kind in _OF_VALUES:
        at, taken = _OF_VALUES[kind]
        is_alone = [each for each in given if each in holding] == [given[at]]  # not its own weight, either
        return is_alone and axes > (len(given[1]) if taken is None else taken)
    others = [each.meta["val"] for each in node.all_input_nodes if each not in holding]
    is_broadcast = all(not isinstance(each, Tensor) or each.dim() < axes for each in others)
    is_elementwise = torch.Tag.pointwise in target.tags or kind in _COPIES | _DROPOUTS
    return is_elementwise and is_broadcast and {each.meta["val"].dim() for each in holding} == {axes}
