"""Operators that compute over one or several axes: reductions, normalisations, softmax, sorting, running sums."""

import dataclasses
import math

import numpy as np

from rnnserve.export.dataflow.flow import At, Over, Read, Source, flow
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.rules.layout import axes_of
from rnnserve.export.dataflow.sizes import Size, longest
from rnnserve.export.dataflow.symbolic import content_of, symbolic
from rnnserve.export.dataflow.tracks import Property, Reach
from rnnserve.export.dataflow.values import Content, Ends, NotCovered, Shape, Value

__all__: list[str] = []

_ONE = Size.of(1)

_REDUCTIONS = {
    "ReduceSum": ("sums over", 0.0),
    "ReduceMean": ("averages over", None),
    "ReduceMax": ("takes the largest of", -math.inf),
    "ReduceMin": ("takes the smallest of", math.inf),
    "ReduceProd": ("multiplies over", 1.0),
    "ReduceL1": ("sums over", 0.0),
    "ReduceL2": ("sums squares over", 0.0),
    "ReduceSumSquare": ("sums squares over", 0.0),
    "ReduceLogSum": ("sums over", 0.0),
    "ReduceLogSumExp": ("sums exponentials over", -math.inf),
}
"""What they do, and the value that leaves the result as it is."""


@rule(_REDUCTIONS)
def _reduce(node: Node) -> Value:
    value = node.input(0)
    axes = axes_of(node, value.rank)
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            raise NotCovered
        axes = list(range(value.rank))
    does, neutral = _REDUCTIONS[node.operator]
    over = Over(
        does,
        surely=not isinstance(value.pattern, Ends),  # most often the number of steps of the longest row: a size
        neutral=lambda axis: neutral is not None and value.after.get(axis) == neutral and along(value, axis) in axes,
    )
    keep = bool(node.attribute("keepdims", 1))
    left = [at for at in range(value.rank) if keep or at not in axes]
    reads: list[Read] = [over if at in axes else At(left.index(at)) for at in range(value.rank)]
    shape: Shape = tuple((_ONE,) if at in axes else value.axes[at] for at in left)
    result = flow(node, shape, [(value, reads)])
    keeps = node.operator not in ("ReduceProd", "ReduceLogSum", "ReduceLogSumExp")
    return dataclasses.replace(
        result, content=_content(node, value, axes, keep=keep), finite=keeps and value.wholly_finite
    )


def _content(node: Node, value: Value, axes: list[int], *, keep: bool) -> Content | None:
    if node.operator == "ReduceMax" and isinstance(value.pattern, Ends) and len(axes) == value.rank:
        batch = next((axis for kind, axis in node.keys if kind is Property.ROWS), "")
        largest = symbolic([longest(value.pattern.axis, batch) + value.pattern.offset])
        return largest.reshape([1] * value.rank if keep else [])
    content = content_of(value)
    if content is None or node.operator not in ("ReduceProd", "ReduceSum") or content.dtype.kind not in "iuO":
        return None
    function = np.prod if node.operator == "ReduceProd" else np.sum
    return np.asarray(function(content, axis=tuple(axes), keepdims=keep))


@rule("ArgMax ArgMin")
def _arg(node: Node) -> Value:
    value = node.input(0)
    at, keep = node.axis(value.rank), bool(node.attribute("keepdims", 1))
    left = [other for other in range(value.rank) if keep or other != at]
    reads: list[Read] = [
        Over("looks for the largest of", surely=True) if a == at else At(left.index(a)) for a in range(value.rank)
    ]
    shape: Shape = tuple((_ONE,) if other == at else value.axes[other] for other in left)
    return dataclasses.replace(flow(node, shape, [(value, reads)]), finite=True)


def computed_over(node: Node, value: Value, axes: list[int], over: Over, more: list[Source]) -> Value:
    """Give what a result of the input's shape depends on whose values are computed over axes."""
    same: list[Read] = [At(at) for at in range(value.rank)]
    reads: list[Read] = [over if at in axes else At(at) for at in range(value.rank)]
    return flow(node, value.axes, [(value, same), (value, reads), *more])


@rule("Softmax LogSoftmax Hardmax")
def _softmax(node: Node) -> Value:
    value = node.input(0)
    is_old = node.opset < 13  # it computes over all axes from `axis` on
    at = node.axis(value.rank, 1 if is_old else -1)
    axes = list(range(at, value.rank)) if is_old else [at]

    def neutral(axis: str) -> bool:
        # A row has at least one step, so that the largest value is finite and exp(-inf) is zero.
        is_hidden = node.operator != "Hardmax" and value.after.get(axis) == -math.inf
        return is_hidden and along(value, axis) == at and len(axes) == 1

    result = computed_over(node, value, axes, Over("computes softmax over", neutral=neutral), [])
    zeros = {axis: 0.0 for axis in value.after if neutral(axis) and value.finite and along(result, axis) == at}
    is_softmax = node.operator == "Softmax"
    return dataclasses.replace(
        result, after=zeros if is_softmax else {}, finite=value.wholly_finite or (is_softmax and bool(zeros))
    )


@rule("LayerNormalization RMSNormalization GroupNormalization InstanceNormalization LpNormalization")
def _normalize(node: Node) -> Value:
    value = node.input(0)
    if node.operator in ("GroupNormalization", "InstanceNormalization"):  # over (batch, channels, …)
        first = 1 if node.operator == "GroupNormalization" else 2
    else:
        first = node.axis(value.rank, -1)
    last = first + 1 if node.operator == "LpNormalization" else value.rank
    if len([name for name in node.outputs if name]) > 1:
        raise NotCovered
    more: list[Source] = []
    for parameter in node.given[1:]:
        if parameter.shape is None or any(not parameter.track(key).is_free for key in node.keys):
            raise NotCovered
    result = computed_over(node, value, list(range(first, last)), Over("normalises over"), more)
    finite = value.wholly_finite and node.attribute("epsilon", 1e-5) > 0 and node.operator != "LpNormalization"
    return dataclasses.replace(result, finite=finite)


@rule("BatchNormalization")
def _batch_normalization(node: Node) -> Value:
    value = node.input(0)
    if any(not parameter.track(key).is_free for parameter in node.given[1:] for key in node.keys):
        raise NotCovered
    over = [0, *range(2, value.rank)] if node.attribute("training_mode", 0) else []
    return computed_over(node, value, over, Over("normalises over"), [])


@rule("CumSum")
def _cumulative_sum(node: Node) -> Value:
    value, axis = node.input(0), node.input(1).numbers
    if axis is None:
        raise NotCovered
    at = axis[0] % value.rank
    if node.attribute("reverse", 0):
        zeros = {name: 0.0 for name, number in value.after.items() if number == 0 and along(value, name) == at}
        backwards = Over("sums backwards over", neutral=zeros.__contains__)
        result = computed_over(node, value, [at], backwards, [])
        return dataclasses.replace(result, after=zeros, finite=value.wholly_finite)
    reads: list[Read] = [At(other) for other in range(value.rank)]
    reads[at] = At(at, Reach(exact=False, offset=-int(node.attribute("exclusive", 0))))
    return dataclasses.replace(flow(node, value.axes, [(value, reads)]), finite=value.wholly_finite)


@rule("TopK")
def _top(node: Node) -> list[Value]:
    value, count = node.input(0), node.input(1).sizes
    if count is None:
        raise NotCovered
    at = node.axis(value.rank, -1)
    reads: list[Read] = [At(other) for other in range(value.rank)]
    reads[at] = Over("sorts over", surely=False)
    shape = (*value.axes[:at], (count[0],), *value.axes[at + 1 :])
    result = flow(node, shape, [(value, reads)])
    return [dataclasses.replace(result, finite=value.wholly_finite), dataclasses.replace(result, finite=True)]


@rule("Trilu")
def _triangle(node: Node) -> Value:
    """Zeros beside a diagonal: by place, so that a row's place counts where the batch is one of the last two axes."""
    value = node.input(0)
    last = {value.rank - 1, value.rank - 2}
    for key in node.keys:
        if key[0] is Property.ROWS and any(place[0] in last for place in value.track(key).places):
            raise NotCovered
    result = flow(node, value.axes, [(value, [At(at) for at in range(value.rank)])])
    return dataclasses.replace(result, finite=value.wholly_finite)
