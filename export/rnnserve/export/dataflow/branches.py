"""If: results that are those of one graph or of another."""

import dataclasses

from rnnserve.export.dataflow.loop_values import joined
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.tracks import join
from rnnserve.export.dataflow.values import Value

__all__ = ["either", "taken"]


def taken(condition: Value) -> str:
    """Name the attribute with the graph that is surely taken; empty where that depends on values."""
    if condition.content is None or condition.content.dtype == object:
        return ""
    return "then_branch" if bool(condition.content.any()) else "else_branch"


def either(node: Node, condition: Value, branches: list[list[Value]]) -> list[Value]:
    """Give what is known of the results of a choice, which depend on what it depends on, too.

    Args:
        node: The If.
        condition: Value of its condition.
        branches: The results of each graph that may be taken.
    """
    results = []
    for values in zip(*branches, strict=True):
        value = joined(list(values))
        tracks = {key: join([value.track(key), condition.track(key)]) for key in node.keys}
        results.append(dataclasses.replace(value, tracks=tracks))
    return results
