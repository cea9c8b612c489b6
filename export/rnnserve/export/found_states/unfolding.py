"""Branches that are decided, as the nodes that are taken, and loops over steps, as scans: states are found in these.

A foreign file has an If for what the user has said (`--constant sr=16000`), and a Loop where TorchScript had a `for`
over the steps of a sequence. Both compute the same as what takes their place, node by node.
"""

from collections.abc import Iterator, Sequence

import onnx
from onnx import helper

from rnnserve.export.analysis.decisions import values_of
from rnnserve.export.analysis.values import NotCovered
from rnnserve.export.analysis.walk import taken
from rnnserve.export.found_states.known_graph import KnownGraph
from rnnserve.export.found_states.place import Obstacle, Place
from rnnserve.export.found_states.step_loop import StepLoop
from rnnserve.export.subgraphs import rename
from rnnserve.protos import manifest_pb2

__all__ = ["find_loop", "unfold"]

Tensors = Sequence[manifest_pb2.Tensor]

_MOST = 64  # branches within branches


def unfold(
    model: onnx.ModelProto, inputs: Tensors, outputs: Tensors, axis: str, *, finite_inputs: bool
) -> onnx.ModelProto:
    """Give a graph with what is decided, and scans, in the place of Ifs and Loops; itself if it has none.

    Args:
        model: The graph.
        inputs: Inputs of the graph, described.
        outputs: Outputs of the graph, described.
        axis: The sequence axis.
        finite_inputs: Whether no input is NaN or infinite.
    """
    if not any(node.op_type in ("If", "Loop") and not node.domain for node in model.graph.node):
        return model
    unfolded = onnx.ModelProto()
    unfolded.CopyFrom(model)
    try:
        for _ in range(_MOST):
            values = values_of(unfolded, inputs, finite_inputs=finite_inputs)
            if not _unfold_one(KnownGraph(unfolded, inputs, outputs, axis, values)):
                break
    except (NotCovered, LookupError, StopIteration, TypeError, ValueError):  # as for a rule: a file may hold anything
        return model
    return unfolded


def find_loop(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Say why a Loop over the steps carries what is not found; None for a Loop over something else.

    Raises:
        Obstacle: If it runs over the steps: one that could be a scan is one by now.
    """
    del number, prefix
    loop = StepLoop(graph, node)
    if loop.counts_steps:
        raise Obstacle(f"its Loop {loop.obstacle() or 'is in a form that is not looked into'}")
    return None


def _unfold_one(graph: KnownGraph) -> bool:
    """Unfold the first node that can be, in place; False where there is none."""
    nodes = graph.model.graph.node
    for number, node in enumerate(nodes):
        new: dict[int, Sequence[onnx.NodeProto]] = {}
        if node.op_type == "If" and not node.domain and node.input[0] in graph.values:
            branch = taken(graph.values[node.input[0]])
            if branch:
                chosen = next(each.g for each in node.attribute if each.name == branch)
                new[number] = list(_inlined(graph.model.graph, node, chosen))
        elif node.op_type == "Loop" and not node.domain:
            loop = StepLoop(graph, node)
            if loop.counts_steps:
                hoisted = list(_hoisted(graph.model.graph, node, loop))
                if hoisted:
                    new[number] = [*hoisted, node]
                elif not loop.obstacle():
                    scan, readers = loop.scan()
                    new[number] = [scan]
                    new |= {at: [readers[each.output[0]]] for at, each in enumerate(nodes) if each.output[0] in readers}
        if new:
            kept = [each for at, old in enumerate(nodes) for each in new.get(at, [old])]
            kept = [onnx.NodeProto.FromString(each.SerializeToString()) for each in kept]
            del nodes[:]
            nodes.extend(kept)
            return True
    return False


def _inlined(graph: onnx.GraphProto, node: onnx.NodeProto, branch: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Give the nodes of a branch; its constants become those of the graph."""
    inner = onnx.GraphProto()
    inner.CopyFrom(branch)
    own = [name for each in inner.node for name in each.output if name]
    own += [tensor.name for tensor in inner.initializer]
    rename(inner, {name: f"{_unique(node)}/{name}" for name in own})
    graph.initializer.extend(inner.initializer)
    yield from inner.node
    for value, name in ((value, name) for value, name in zip(inner.output, node.output, strict=False) if name):
        yield helper.make_node("Identity", [value.name], [name], name=f"{node.name or _unique(node)}/{name}")


def _hoisted(graph: onnx.GraphProto, node: onnx.NodeProto, loop: StepLoop) -> Iterator[onnx.NodeProto]:
    """Move out of a loop what is the same at each step; it is removed from the loop, in place."""
    same = loop.same_at_each_step()
    names = [name for each in same for name in each.output if name]
    names += [tensor.name for tensor in loop.body.initializer]
    if not names:
        return
    renamed = {name: f"{_unique(node)}/{name}" for name in names}
    moved = onnx.GraphProto(node=same, initializer=loop.body.initializer)
    for each in same:
        loop.body.node.remove(each)
    del loop.body.initializer[:]
    rename(moved, renamed)
    rename(loop.body, renamed)
    graph.initializer.extend(moved.initializer)
    yield from moved.node


def _unique(node: onnx.NodeProto) -> str:
    """Give the name of a result, which no other node of the graph has."""
    return next(filter(None, node.output), node.name)
