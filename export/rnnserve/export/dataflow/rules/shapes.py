"""Operators that read shapes, or make tensors of sizes alone."""

import dataclasses
import math

import numpy as np

from rnnserve.export.dataflow.flow import created
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.symbolic import symbolic
from rnnserve.export.dataflow.tracks import COUNTS, NUMBERS, Property, mixed, not_decided
from rnnserve.export.dataflow.values import (
    MOST_CONTENT,
    NotCovered,
    Shape,
    Steps,
    Value,
    constant,
    fill_of,
    plain,
    size_of,
)
from rnnserve.protos.protocol_words import BATCH

__all__: list[str] = []


def of_sizes(node: Node, sizes: list[Size], shape: Shape) -> Value:
    """Give what is known of a tensor that holds sizes as its values.

    Where a rule reads them as sizes, nothing depends on them but shapes. As values they depend on what the sizes do.
    """
    tracks = {}
    for kind, axis in node.keys:
        if any((axis in size.made_of and kind is Property.ROWS) or size.tainted == {axis} for size in sizes):
            said = f"{COUNTS} rows" if axis == BATCH else f'{COUNTS} steps of "{axis}"'
            tracks[kind, axis] = mixed(node.title, said)
        elif any(axis in size.tainted for size in sizes):
            tracks[kind, axis] = not_decided(node.title, "reads a size")
    content = symbolic(sizes).reshape([size_of(axis).number or 0 for axis in shape])
    return Value(shape, tracks, content=content, fill=fill_of(content), finite=True)


@rule("Shape")
def _shape(node: Node) -> Value:
    value = node.input(0)
    sizes = [size_of(axis) for axis in value.axes]
    sizes = sizes[node.attribute("start", 0) : node.attribute("end", len(sizes))]
    return of_sizes(node, sizes, plain([len(sizes)]))


@rule("Size")
def _size(node: Node) -> Value:
    value = node.input(0)
    total = Size.of(1)
    for axis in value.axes:
        total = total * size_of(axis)
    return of_sizes(node, [total], ())


@rule("Constant")
def _constant(node: Node) -> Value:
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        if name in node.attributes:
            array = np.asarray(node.attributes[name])
            return constant(
                array.astype({"i": np.int64, "f": np.float32}[array.dtype.kind]) if name != "value" else array
            )
    raise NotCovered


@rule("ConstantOfShape")
def _constant_of_shape(node: Node) -> Value:
    sizes = node.input(0).sizes
    if sizes is None:
        raise NotCovered
    fill = np.asarray(node.attribute("value", np.zeros(1, np.float32))).ravel()[:1]
    value = constant(fill)
    shape = plain(sizes)
    numbers = [size.number for size in sizes]
    content = None
    if None not in numbers and math.prod(number or 0 for number in numbers) <= MOST_CONTENT:
        content = np.full([number or 0 for number in numbers], fill[0])
    return dataclasses.replace(created(node, shape), content=content, fill=value.fill, finite=value.finite)


@rule("Range")
def _range(node: Node) -> Value:
    """Number the steps of an axis, or rows, from 0 on."""
    start, limit, delta = (node.input(at) for at in range(3))
    if start.fill is None or delta.fill != 1 or limit.sizes is None or not float(start.fill).is_integer():
        raise NotCovered
    return counted(node, int(start.fill), limit.sizes[0])


def counted(node: Node, first: int, limit: Size) -> Value:
    """Give what is known of the integers from `first` up to, without, a limit."""
    size = limit - first
    if (size.lowest or 0) < 0 or size.lowest is None:
        raise NotCovered
    result = created(node, plain([size]))
    tracks = dict(result.tracks)
    for key, track in tracks.items():
        if key[0] is Property.ROWS and track.places:
            # Rows that are sorted, and put back, are where they were.
            tracks[key] = not_decided(node.title, NUMBERS)
    number = size.number
    content = np.arange(first, first + number) if number is not None and number <= MOST_CONTENT else None
    return Value(result.shape, tracks, content, Steps(0, first), fill=fill_of(content), finite=True)
