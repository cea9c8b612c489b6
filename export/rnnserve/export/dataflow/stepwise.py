"""Whether each step of a graph is computed by itself, but for what some of its nodes carry from step to step.

Such a graph gives the same for a sequence as for its parts, if what those nodes carry is given to the next part. That a
step reads no later one, which `causality` says, is not enough: attention over all earlier steps does not, and neither
does what counts its steps.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import onnx

from rnnserve.export.dataflow.graph_walk import GraphWalk
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.sizes import named
from rnnserve.export.dataflow.tracks import LAST, Key, Property, Reach, Track, join
from rnnserve.export.dataflow.values import Value, size_of
from rnnserve.export.dataflow.verdicts import Decision, Verdict, described_inputs, not_decided_by
from rnnserve.export.tensor_shapes import axis_of, lengths_inputs, sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["causal_key", "decide_steps", "padding_key", "rows_key", "tensor_values"]

Tensors = Sequence[manifest_pb2.Tensor]

_WINDOWS = ("Conv", "Slice", "AveragePool", "MaxPool")  # each step is made of a stretch of steps
_ELEMENTWISE = (  # each value is made of one, wherever it stands
    *("Identity", "Cast", "Transpose", "Squeeze", "Unsqueeze", "IsNaN", "Neg", "Abs", "Sqrt", "Exp", "Log", "Erf"),
    *("Relu", "LeakyRelu", "Elu", "Gelu", "Sigmoid", "HardSigmoid", "Softplus", "Tanh"),
)

rows_key: Key = (Property.ROWS, BATCH)


def causal_key(axis: str) -> Key:
    """The key of tracks that say which steps of a sequence axis a value depends on."""
    return Property.CAUSALITY, axis


def padding_key(axis: str) -> Key:
    """The key of tracks that say whether a value depends on what lies after the length of its row."""
    return Property.PADDING, axis


def tensor_values(model: onnx.ModelProto, inputs: Tensors, *, finite_inputs: bool = True) -> dict[str, Value]:
    """Give what is known of each tensor of a graph, by name, with the keys of `decide`.

    Args:
        model: The graph.
        inputs: Inputs, described.
        finite_inputs: Whether no input is NaN or infinite.
    """
    axes, lengths = sequence_axes(inputs), lengths_inputs(inputs)
    keys = [rows_key, *(padding_key(axis) for axis in axes if axis in lengths), *map(causal_key, axes)]
    known = described_inputs(inputs, keys, finite=finite_inputs)
    return GraphWalk(model, keys).results(model.graph, known)


def decide_steps(
    model: onnx.ModelProto,
    inputs: Tensors,
    outputs: Tensors,
    axis: str,
    values: Mapping[str, Value],
    carrying: Mapping[str, Collection[str]],
) -> dict[str, Decision]:
    """Decide of each output whether its steps depend on others only by what some nodes carry.

    The walk is that of rows, along the sequence: a step is to depend on no other one, nor on how many there are, nor on
    its place among them.

    Args:
        model: The graph.
        inputs: Inputs of the graph, described.
        outputs: Outputs of the graph, described.
        axis: The sequence axis.
        values: Result of `tensor_values`.
        carrying: The nodes that carry something, each by the name of a result: of these, any step may be read. With
            each, those of its inputs that do not count.

    Returns:
        The decisions by output. One without steps is what there is after the last step.
    """
    walk = _StepWalk(model, axis, values, carrying)
    found = walk.results(model.graph, described_inputs(inputs, walk.keys))
    return {tensor.name: _decision(tensor, found[tensor.name].track(walk.key), axis) for tensor in outputs}


class _StepWalk(GraphWalk):
    """A walk along the sequence, where some nodes are known to carry what they read of other steps."""

    def __init__(
        self,
        model: onnx.ModelProto,
        axis: str,
        values: Mapping[str, Value],
        carrying: Mapping[str, Collection[str]],
    ) -> None:
        self.key: Key = (Property.ROWS, axis)
        self._causal = causal_key(axis)
        super().__init__(model, [self.key, self._causal])
        self._axis, self._values, self._carrying = axis, values, carrying
        self._wide: dict[str, Track] = {}  # tensors that begin with what was carried, and what was lost before them

    def of_node(self, proto: onnx.NodeProto, node: Node, values: Mapping[str, Value], path: str) -> list[Value]:
        """Give what is known of each result of a node: of one that carries, from the other walk."""
        if path:
            return super().of_node(proto, node, values, path)
        carries = next((name for name in proto.output if name in self._carrying), "")
        if carries:
            given = zip(proto.input, node.inputs, strict=True)
            count = [value for name, value in given if value is not None and name not in self._carrying[carries]]
            lost = join(_lost(value.track(self.key)) for value in count)
            return [self._carried(name, lost) if name else Value(None) for name in proto.output]
        wide = self._wide.get(proto.input[0]) if proto.input else None
        if wide is not None and proto.op_type in (*_WINDOWS, *_ELEMENTWISE) and self._is_within(proto.output[0]):
            return [self._carried(proto.output[0], wide)]
        return [self._last(node, value) for value in super().of_node(proto, node, values, path)]

    def _carried(self, name: str, lost: Track) -> Value:
        """Give what is known of a result to which every step that it reads is given."""
        value = self._values[name]
        causal = value.track(self._causal)
        places = {place: Reach() for place in causal.places if place != LAST}
        if self._is_within(name) and self._more(name):
            self._wide[name] = lost
        tracks = {self.key: join([Track(places), lost]), self._causal: causal}
        return dataclasses.replace(value, tracks=tracks, after={}, pattern=None)

    def _more(self, name: str) -> int | None:
        """How many steps more than the sequence a tensor has; None where that is not known."""
        value = self._values.get(name)
        places = [] if value is None else [at for at, _ in value.track(self._causal).places if at >= 0]
        if value is None or value.shape is None or len(places) != 1:
            return None
        return (size_of(value.shape[places[0]]) - named(self._axis)).number

    def _is_within(self, name: str) -> bool:
        """Whether a tensor has as many steps more at its beginning as its values reach back."""
        value, more = self._values.get(name), self._more(name)
        if value is None or more is None:
            return False
        reaches = value.track(self._causal).places.values()
        return not value.track(self._causal).is_lost and all(reach.offset <= -more <= 0 for reach in reaches)

    def _last(self, node: Node, value: Value) -> Value:
        """Let what there is after the last step be that: it is no step among others."""
        causal = value.track(self._causal)
        if set(causal.places) != {LAST} or causal.is_lost or any(v.track(self.key).is_lost for v in node.given):
            return value
        return dataclasses.replace(value, tracks={**value.tracks, self.key: Track()})


def _lost(track: Track) -> Track:
    return Track(mixing=track.mixing, undecided=track.undecided)


def _decision(tensor: manifest_pb2.Tensor, track: Track, axis: str) -> Decision:
    if track.mixing:
        return Decision(Verdict.REFUTED, tuple(f"{reason.node} {reason.sentence}" for reason in track.mixing))
    if track.undecided:
        return not_decided_by(track.undecided)
    at = axis_of(tensor, axis)
    if dict(track.places) == ({} if at is None else {(at, 0): Reach()}):
        return Decision(Verdict.PROVEN)
    return Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))
