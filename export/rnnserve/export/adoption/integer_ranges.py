"""Which integers an input takes, where the file tells it: the rows of the tables from which they choose."""

import re
from collections.abc import Iterator

import onnx

from rnnserve.export.adoption.questions import Question
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.subgraphs import all_nodes

__all__ = ["LENGTHS", "integer_range", "range_question"]

LENGTHS = re.compile(r"len", re.IGNORECASE)
"""Names of inputs that hold lengths: lengths, seq_len, sequence_length."""

_THROUGH = ("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")  # pass ids on to a table


def integer_range(graph: onnx.GraphProto, name: str, roles: Roles) -> tuple[int, int] | None:
    """Give the lowest integer that an input takes, and one more than the highest: as the user says, or by tables.

    Returns:
        None where neither says it.
    """
    if name in roles.integers:
        return roles.integers[name]
    rows = min(_table_rows(graph, name), default=None)
    return None if rows is None else (0, rows)


def range_question(name: str, datatype: str) -> Question:
    """Ask which integers an input takes."""
    return Question(
        f'input "{name}" is {datatype}, and the file does not say which values it takes',
        f"--integers {name}=LOW:HIGH",
        ", where HIGH is one more than the highest",
    )


def _table_rows(graph: onnx.GraphProto, name: str) -> Iterator[int]:
    """Give the number of rows of each constant table from which an input chooses."""
    nodes = list(all_nodes(graph))
    tables = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in nodes:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tables[node.output[0]] = list(attribute.t.dims)
    names = {name}
    for node in nodes:  # in topological order, as ONNX demands
        if node.op_type in _THROUGH and node.input[0] in names:
            names.add(node.output[0])
        elif node.op_type == "Gather" and node.input[1] in names and node.input[0] in tables:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            yield tables[node.input[0]][axis]
