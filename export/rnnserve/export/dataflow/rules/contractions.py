"""Sums of products: MatMul, Gemm and Einsum."""

import dataclasses
from collections.abc import Mapping, Sequence

from rnnserve.export.dataflow.broadcasting import broadcast_shape, meet
from rnnserve.export.dataflow.flow import At, Over, Read, Source, flow
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.values import NotCovered, Shape, Value

__all__: list[str] = []

_DOES = "sums products over"


@rule("MatMul MatMulInteger")
def _matmul(node: Node) -> Value:
    left, right = node.input(0), node.input(1)
    if node.operator == "MatMulInteger" and len(node.given) > 2:
        raise NotCovered
    batch = broadcast_shape([left.axes[:-2], right.axes[:-2]])
    rank = len(batch)
    rows, columns = left.rank > 1, right.rank > 1
    shape: Shape = (*batch, *(left.axes[-2:-1] if rows else ()), *(right.axes[-1:] if columns else ()))
    meet([left.axes[-1], right.axes[-2 if columns else -1]])
    over = _over(node, {0: (left, left.rank - 1), 1: (right, right.rank - 2 if columns else 0)})
    of_left: list[Read] = [At(rank - (left.rank - 2) + at) for at in range(max(left.rank - 2, 0))]
    of_right: list[Read] = [At(rank - (right.rank - 2) + at) for at in range(max(right.rank - 2, 0))]
    of_left += [At(rank), over] if rows else [over]
    of_right += [over, At(rank + rows)] if columns else [over]
    return _product(node, shape, [(left, of_left), (right, of_right)])


@rule("Gemm")
def _gemm(node: Node) -> Value:
    left, right, added = node.input(0), node.input(1), node.optional(2)
    if left.rank != 2 or right.rank != 2:
        raise NotCovered
    row = 1 if node.attribute("transA", 0) else 0
    column = 0 if node.attribute("transB", 0) else 1
    meet([left.axes[1 - row], right.axes[1 - column]])
    over = _over(node, {0: (left, 1 - row), 1: (right, 1 - column)})
    of_left: list[Read] = [At(0), over] if row == 0 else [over, At(0)]
    of_right: list[Read] = [over, At(1)] if column == 1 else [At(1), over]
    shape: Shape = (left.axes[row], right.axes[column])
    sources: list[Source] = [(left, of_left), (right, of_right)]
    result = _product(node, shape, sources)
    if added is None:
        return result
    if added.shape is None or broadcast_shape([shape, added.shape]) != shape:
        raise NotCovered
    sources.append((added, [At(at + 2 - added.rank) for at in range(added.rank)]))
    kept = result.after if added.fill == 0 else {}
    finite = result.finite and added.wholly_finite
    return dataclasses.replace(flow(node, shape, sources), after=kept, finite=finite)


@rule("Einsum")
def _einsum(node: Node) -> Value:
    equation = node.attribute("equation").decode().replace(" ", "")
    if "." in equation:
        raise NotCovered
    taken, arrow, given = equation.partition("->")
    terms = taken.split(",")
    if not arrow:  # letters that occur once, in their order
        given = "".join(sorted(letter for letter in set(taken) - {","} if taken.count(letter) == 1))
    values = [node.input(at) for at in range(len(node.inputs))]
    if len(terms) != len(values) or any(
        len(set(term)) != len(term) or len(term) != value.rank for term, value in zip(terms, values, strict=True)
    ):
        raise NotCovered
    axes = {
        letter: meet([v.shape[t.index(letter)] for t, v in zip(terms, values, strict=True) if v.shape and letter in t])
        for letter in dict.fromkeys("".join(terms))
    }
    overs = {
        letter: _over(
            node,
            {n: (v, t.index(letter)) for n, (t, v) in enumerate(zip(terms, values, strict=True)) if letter in t},
            values,
        )
        for letter in axes
    }
    sources: list[Source] = [
        (value, [At(given.index(letter)) if letter in given else overs[letter] for letter in term])
        for term, value in zip(terms, values, strict=True)
    ]
    return _product(node, tuple(axes[letter] for letter in given), sources)


def _over(node: Node, contracted: Mapping[int, tuple[Value, int]], all_values: Sequence[Value] | None = None) -> Over:
    """Sum over an axis that several inputs have: products with zeros after each row's length add nothing.

    Args:
        node: The operator.
        contracted: Inputs that have it, by number, and where.
        all_values: All inputs, where there are others.
    """
    values = list(all_values) if all_values is not None else [value for value, _ in contracted.values()]

    def neutral(axis: str) -> bool:
        zero = any(value.after.get(axis) == 0 and along(value, axis) == at for value, at in contracted.values())
        return zero and all(value.wholly_finite for value in values)

    varying = [value for value in values if any(not value.track(key).is_free for key in node.keys)]
    # A product of two values that vary may be with a mask, which takes out what must not mix.
    return Over(_DOES, surely=len(varying) < 2, neutral=neutral)


def _product(node: Node, shape: Shape, sources: Sequence[Source]) -> Value:
    """Give the sum of products, which is zero after the lengths where one factor is."""
    result = flow(node, shape, sources)
    after = {}
    for value, reads in sources:
        for axis, number in value.after.items():
            place = along(value, axis)
            read = At(place) if place is not None and place < 0 else None if place is None else reads[place]
            others = all(other.wholly_finite for other, _ in sources)
            if number == 0 and others and isinstance(read, At) and along(result, axis) == read.axis:
                after[axis] = 0.0
    finite = all(value.wholly_finite for value, _ in sources)
    return dataclasses.replace(result, after=after, finite=finite)
