"""Whether steps of a graph depend on others only by what some of its nodes carry, and which results count steps.

If they do, the graph gives the same for a sequence as for its parts, given what those nodes carry. That a step reads no
later one, which `causality` says, isn't enough: attention over all earlier steps reads no later one, either.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import onnx
import onnx_ir as ir

from rnnserve.export.analysis.decisions import Decision, Verdict, causal_key, described_inputs, not_decided_by
from rnnserve.export.analysis.flow import Node
from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import (
    COUNTS,
    LAST,
    Key,
    Property,
    Reach,
    Track,
    Value,
    join,
    size_of,
)
from rnnserve.export.analysis.walk import Walk
from rnnserve.export.tensors import axis_of
from rnnserve.protos import manifest_pb2

__all__ = ["counts_steps", "decide_steps"]

Tensors = Sequence[manifest_pb2.Tensor]

_WINDOWS = ("Conv", "Slice", "AveragePool", "MaxPool")  # each step is made of a stretch of steps
_ELEMENTWISE = (  # each value is made of one, wherever it stands
    *("Identity", "Cast", "Transpose", "Squeeze", "Unsqueeze", "IsNaN", "Neg", "Abs", "Sqrt", "Exp", "Log", "Erf"),
    *("Relu", "LeakyRelu", "Elu", "Gelu", "Sigmoid", "HardSigmoid", "Softplus", "Tanh"),
)


def decide_steps(
    model: onnx.ModelProto,
    inputs: Tensors,
    outputs: Tensors,
    axis: str,
    values: Mapping[str, Value],
    carrying: Mapping[str, Collection[str]],
) -> dict[str, Decision]:
    """Decide of each output whether its steps depend on others only by what some nodes carry.

    The walk is that of rows, along the sequence: a step must not depend on another one, nor on how many there are, nor
    on its place among them.

    Args:
        model: The graph.
        inputs: Inputs of the graph, described.
        outputs: Outputs of the graph, described.
        axis: The sequence axis.
        values: What a walk has found of the graph's tensors, by name.
        carrying: The nodes that carry something, each by the name of a result: of these, any step may be read. With
            each, those of its inputs that do not count.

    Returns:
        The decisions by output. An output without steps is what there is after the last step.
    """
    walk = _StepWalk(ir.serde.deserialize_model(model), axis, values, carrying)
    found = walk.run(described_inputs(inputs, [walk.key, causal_key(axis)])).by_name()
    return {tensor.name: _decision(tensor, found[tensor.name].track(walk.key), axis) for tensor in outputs}


class _StepWalk(Walk):
    """A walk along the sequence, in which some nodes are known to carry what they read of other steps."""

    def __init__(
        self, model: ir.Model, axis: str, values: Mapping[str, Value], carrying: Mapping[str, Collection[str]]
    ) -> None:
        self.key: Key = (Property.ROWS, axis)
        self._causal = causal_key(axis)
        super().__init__(model, [self.key, self._causal])
        self._axis, self._known, self._carrying = axis, values, carrying
        self._wide: dict[str, Track] = {}  # tensors that begin with what was carried, and what was lost before them

    def of_node(self, each: ir.Node, node: Node, path: str) -> list[Value]:
        """Give what is known of each result of a node: of one that carries, from the other walk."""
        if path:
            return super().of_node(each, node, path)
        names, given = node.results, ["" if value is None else value.name or "" for value in each.inputs]
        carries = next((name for name in names if name in self._carrying), "")
        if carries:
            counting = [v for name, v in zip(given, node.inputs, strict=True) if name not in self._carrying[carries]]
            lost = join(value.track(self.key).at({}) for value in counting if value is not None)
            return [self._carried(name, lost) if name else Value(None) for name in names]
        wide = self._wide.get(given[0]) if given else None
        if wide is not None and each.op_type in (*_WINDOWS, *_ELEMENTWISE) and self._is_within(names[0]):
            return [self._carried(names[0], wide)]
        return [self._last(node, value) for value in super().of_node(each, node, path)]

    def _carried(self, name: str, lost: Track) -> Value:
        """Give what is known of a result to which every step that it reads is given."""
        value = self._known[name]
        causal = value.track(self._causal)
        places = {place: Reach() for place in causal.places if place != LAST}
        if self._is_within(name) and self._more(name):
            self._wide[name] = lost
        tracks = {self.key: join([Track(places), lost]), self._causal: causal}
        return dataclasses.replace(value, tracks=tracks, after={}, pattern=None)

    def _more(self, name: str) -> int | None:
        """How many steps more than the sequence a tensor has. None if that isn't known."""
        value = self._known.get(name)
        places = [] if value is None else [at for at, _ in value.track(self._causal).places if at >= 0]
        if value is None or value.shape is None or len(places) != 1:
            return None
        return (size_of(value.shape[places[0]]) - named(self._axis)).number

    def _is_within(self, name: str) -> bool:
        """Whether a tensor has as many steps more at its beginning as its values reach back."""
        value, more = self._known.get(name), self._more(name)
        if value is None or more is None or value.track(self._causal).is_lost:
            return False
        return all(reach.offset <= -more <= 0 for reach in value.track(self._causal).places.values())

    def _last(self, node: Node, value: Value) -> Value:
        """Let what there is after the last step be that: it is no step among others."""
        causal = value.track(self._causal)
        if set(causal.places) != {LAST} or causal.is_lost or any(v.track(self.key).is_lost for v in node.given):
            return value
        return dataclasses.replace(value, tracks={**value.tracks, self.key: Track()})


def _decision(tensor: manifest_pb2.Tensor, track: Track, axis: str) -> Decision:
    if track.mixing:
        return Decision(Verdict.REFUTED, tuple(f"{reason.node} {reason.sentence}" for reason in track.mixing))
    if track.undecided:
        return not_decided_by(track.undecided)
    at = axis_of(tensor, axis)
    if dict(track.places) == ({} if at is None else {(at, 0): Reach()}):
        return Decision(Verdict.PROVEN)
    return Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))


def counts_steps(model: onnx.ModelProto, inputs: Tensors, outputs: Tensors, axis: str) -> bool:
    """Whether an output may depend on the numbers of a request's steps, or on how many there are."""
    key: Key = (Property.ROWS, axis)
    walk = Walk(ir.serde.deserialize_model(model), [key]).run(described_inputs(inputs, [key]))
    tracks = [walk.by_name()[tensor.name].track(key) for tensor in outputs]
    reasons = [reason for track in tracks for reason in (*track.mixing, *track.undecided)]
    return any(reason.is_of_numbers or reason.sentence.startswith(COUNTS) for reason in reasons)
