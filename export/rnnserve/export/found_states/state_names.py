"""Names of found states: the path of the module that they are of."""

import re
from collections.abc import Mapping, Sequence

import onnx

__all__ = ["name_prefixes"]

_STATES = (".h", ".c", ".last", ".sum")
_PIECE = re.compile(r"/(\d+|joined|constant_\d+)")
_LOOP = re.compile(r"(^|/)loop_\d+$")
"""What stands between the path of a module and the names of a loop in the place of its RNN operator."""

_ODD = re.compile(r"[^\w.]+")


def name_prefixes(graph: onnx.GraphProto, numbers: Sequence[int]) -> dict[int, str]:
    """Give the prefix of the states of nodes: unique, and such that no tensor of the graph has a name that is given.

    Nodes that an export has made are named after their module, as "encoder.0/node_gru__1": their states are
    "encoder.0.h". Where a module has several, they are counted: "encoder.0.h", "encoder.1.h" for "encoder".

    Args:
        graph: The graph.
        numbers: Numbers of the nodes.
    """
    users = _users(graph)
    paths = {number: _path(graph.node[number], users) for number in numbers}
    taken = [name for node in graph.node for name in (*node.input, *node.output)]
    taken += [value.name for value in (*graph.input, *graph.output)] + [tensor.name for tensor in graph.initializer]
    prefixes: dict[int, str] = {}
    for number, path in paths.items():
        alike = [other for other, its in paths.items() if its == path]
        prefix = path if len(alike) == 1 else f"{path}.{alike.index(number)}"
        while prefix in prefixes.values() or any(_is_of(name, prefix) for name in taken):
            prefix += "_"
        prefixes[number] = prefix
    return prefixes


def _is_of(name: str, prefix: str) -> bool:
    """Whether a tensor's name is one that is given to states of this prefix, or to what computes them."""
    rest = name.removeprefix(prefix)
    return rest != name and (
        bool(_PIECE.fullmatch(rest)) or rest.removesuffix("_n") in _STATES or rest.startswith(".state")
    )


def _users(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """By tensor: the first node that reads it."""
    users: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, node)
    return users


def _path(node: onnx.NodeProto, users: Mapping[str, onnx.NodeProto]) -> str:
    """The path of a node's module; of the node that reads it where it is padding; else its operator."""
    path = _LOOP.sub("", node.name.rpartition("/")[0])
    reader = users.get(node.output[0])
    if not path and reader is not None and reader.op_type == "Conv":
        path = reader.name.rpartition("/")[0]
    return _ODD.sub("_", path.strip("/").replace("/", ".")) or node.op_type.lower()
