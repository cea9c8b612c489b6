"""Why a sequence may not be cut, in a user's words: the operator that stands in the way, and what it reads."""

import re
from collections.abc import Mapping, Sequence

import onnx

from rnnserve.export.analysis import Decision

__all__ = ["UNSEEN", "in_words", "undecided_in_words"]

UNSEEN = "whether a cut changes a result depends on values, of which drawn ones say too little"
"""What is said of steps that are read without that the trial's values showed it."""

_NODE = re.compile(r'(?:"[^"]*": )?(?P<title>\w+ "(?P<name>[^"]*)") (?P<sentence>.*)', re.DOTALL)
_OVER = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "largest",
    "ReduceMin": "smallest",
    "ReduceProd": "product",
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "GlobalAveragePool": "mean",
    "GlobalMaxPool": "largest",
    "TopK": "sorting",
}
_READS = {
    "Range": "counts the steps from the first one of a request",
    "Shape": "counts the steps of a request",
    "Size": "counts the steps of a request",
    "Softmax": "weighs other steps, as attention does",
    "LayerNormalization": "normalises over the steps of a request",
    "InstanceNormalization": "normalises over the steps of a request",
    "GroupNormalization": "normalises over the steps of a request",
    "TopK": "sorts the steps of a request",
    "Gather": "takes steps by their number",
    **dict.fromkeys(("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"), "scales by all steps"),
}
_FLIP = re.compile(r'Slice "[^"]*flip')
_REVERSES = "reverses the sequence"
_DIRECTIONS = {b"bidirectional": " (bidirectional)", b"reverse": " (backward)"}
_PLACES = {
    "If": 'a branch of If "{}"',
    "Scan": 'the body of Scan "{}", which runs over something else than steps',
}
_CARRYING = ("RNN", "GRU", "LSTM", "Scan")
_MOST = 2


def in_words(reasons: Sequence[str], model: onnx.ModelProto, axis: str) -> str:
    """Say what stands in the way of a cut.

    Args:
        reasons: Sentences of a walk, each beginning with a node's operator and name.
        model: The graph, in which these nodes are.
        axis: The sequence axis.
    """
    nodes = {name: node for node in model.graph.node for name in (node.name, *node.output) if name}
    said = list(dict.fromkeys(_sentence(reason, nodes, axis) for reason in reasons))
    more = f" (and {len(said) - _MOST} more)" if len(said) > _MOST else ""
    return "; ".join(said[:_MOST]) + more


def undecided_in_words(decision: Decision) -> str:
    """Name a node of which no rule says that it reads each step alone, before what a trial has found of it.

    Args:
        decision: Decision with the nodes to blame. One that is known to read other steps is named first.
    """
    node = next(iter((*decision.readers, *decision.nodes)), "")
    if not node:
        return ""
    operator = node.partition(" ")[0]
    reads = _REVERSES if _FLIP.match(node) else _READS.get(operator, "reads other steps")
    return f"{node} {reads}: "


def _sentence(reason: str, nodes: dict[str, onnx.NodeProto], axis: str) -> str:
    found = _NODE.fullmatch(reason)
    if found is None:
        return reason
    node = nodes.get(found["name"])
    operator, sentence = found["title"].split()[0], found["sentence"]
    path = found["name"].rpartition("/")[0]
    if "runs backward" in sentence:
        direction = next((each.s for each in node.attribute if each.name == "direction"), b"") if node else b""
        who = path or operator.lower()
        return f"{who}{_DIRECTIONS.get(direction, '')} reads the sequence from its end"
    if node is None and operator in _CARRYING:
        return _inside(found["name"], operator, nodes)
    whole = f'all steps of "{axis}"'
    if sentence.endswith(whole) and operator in _OVER:
        return f"{_OVER[operator]} over the axis {axis}{_of(path)}"
    if "steps ahead of" in sentence:
        count = re.search(r"reads (\d+) steps ahead", sentence)
        ahead = f"{count[1]} step{'s' if count[1] != '1' else ''}" if count else "steps"
        return f"{path or operator.lower()} ({operator}) reads {ahead} ahead"
    return f"{path or operator.lower()} ({operator}) {sentence}"


def _inside(name: str, operator: str, nodes: Mapping[str, onnx.NodeProto]) -> str:
    """Say in which body an operator is: its name in a walk begins with that of the node whose body it is."""
    outer = next((key for key, node in nodes.items() if node.op_type in _PLACES and name.startswith(f"{key}/")), "")
    if not outer:
        return f"{name.rpartition('/')[0] or operator.lower()} ({operator}) is in a body, where no states are found"
    kind = nodes[outer].op_type
    inner = name.removeprefix(f"{outer}/").removeprefix("then_branch/").removeprefix("else_branch/")
    who = inner.rpartition("/")[0] or operator.lower()
    return f"{who} ({operator}) is in {_PLACES[kind].format(outer)}: no states are found there"


def _of(path: str) -> str:
    return f", in {path}" if path else ""
