"""Tensors all of whose values are known as numbers, or as sizes: they depend on what those sizes depend on alone."""

import dataclasses

from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.tracks import FREE
from rnnserve.export.dataflow.values import Value, size_of

__all__ = ["entry_by_entry"]


def entry_by_entry(node: Node, value: Value) -> Value:
    """Free a tensor of the axes that none of its known values depends on.

    Rules follow tensors as wholes: the Shape of `x` reads the number of rows, and so would whatever is taken from it.
    `x.std(-1)` takes the number of features alone (Gather, Slice or ReduceProd), which no other row changes.

    Args:
        node: The operator.
        value: One of its results.
    """
    content = content_of(value)
    if content is None or value.shape is None or content.dtype.kind not in "fiubO":
        return value
    if tuple(size_of(axis).number for axis in value.shape) != content.shape:
        return value
    sizes = [each for each in content.ravel().tolist() if isinstance(each, Size)]
    tainted = frozenset[str]().union(*(size.tainted for size in sizes))
    tracks = {key: value.track(key) if key[1] in tainted else FREE for key in node.keys}
    return dataclasses.replace(value, tracks=tracks)
