"""Decide from a traversal whether rows, padding and causality of a graph are proven, refuted or not decided.

`decide_steps` also decides whether steps depend on other steps only through the state that some nodes carry. If so,
the graph computes the same for a whole sequence as for its parts, as long as each part starts with that state.
Causality (a step reads no later step) isn't enough: attention over all earlier steps is causal but carries no state.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import onnx
import onnx_ir as ir

from rnnserve.export.analysis.flow import Node
from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import (
    COMPUTES,
    COUNTS,
    CUTS,
    LAST,
    NUMBERS,
    Ends,
    Key,
    Property,
    Reach,
    Track,
    Value,
    join,
    not_decided,
    plain,
    size_of,
)
from rnnserve.export.analysis.walk import Walk
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.tensors import axis_of, lengths_inputs, sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

Tensors = Sequence[manifest_pb2.Tensor]

ROWS: Key = (Property.ROWS, BATCH)
"""The key of the tracks that record which rows a value depends on."""


class Verdict(StrEnum):
    """Whether a property holds for all values."""

    PROVEN = "proven"
    REFUTED = "refuted"
    NOT_DECIDED = "not decided"


@dataclasses.dataclass(frozen=True)
class Decision:
    """The verdict on one property of an output or of a whole graph."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()  # if refuted: one sentence for each node that breaks the property
    nodes: tuple[str, ...] = ()  # if not decided: the nodes that no rule covers
    # Nodes known to read other indices or to number them. Whether this affects a result may depend on values, so
    # agreement on random values verifies little.
    readers: tuple[str, ...] = ()
    # The readers that compute with the numbers of rows or steps, or cut some off by their number. Whether this affects
    # a result may depend on how many rows or steps there are.
    counting: tuple[str, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether the property holds for all values."""
        return self.verdict is Verdict.PROVEN


def causal_key(axis: str) -> Key:
    """Return the key of the tracks that record which steps of a sequence axis a value depends on."""
    return Property.CAUSALITY, axis


def padding_key(axis: str) -> Key:
    """Return the key of the tracks that record whether a value depends on steps after the length of its row."""
    return Property.PADDING, axis


def decide(model: onnx.ModelProto, inputs: Tensors, outputs: Tensors) -> dict[Property, dict[str, Decision]]:
    """Decide which properties hold for a graph, for all values of its inputs.

    A proven property holds as long as no number leaves the range of its datatype, and up to the rounding of sums: a
    kernel may add in another order if the other rows of a batch change.

    Padding is decided if all sequence axes of the model have lengths, and causality if the model has a sequence axis.
    Returns the decisions by property and by the output's name.
    """
    return decide_of(values_of(model, inputs), inputs, outputs)


def decide_of(values: Mapping[str, Value], inputs: Tensors, outputs: Tensors) -> dict[Property, dict[str, Decision]]:
    """Decide as `decide` does, but from the records of an earlier traversal."""
    axes, lengths = sequence_axes(inputs), lengths_inputs(inputs)
    properties = [Property.ROWS]
    properties += [Property.PADDING] if axes and all(axis in lengths for axis in axes) else []
    properties += [Property.CAUSALITY] if axes else []
    return {
        kind: {
            tensor.name: worst(_output(tensor, values[tensor.name], key) for key in keys_of(inputs) if key[0] is kind)
            for tensor in outputs
        }
        for kind in properties
    }


def keys_of(inputs: Tensors) -> list[Key]:
    """List the properties to decide for a graph with these inputs, each with its axis."""
    axes, lengths = sequence_axes(inputs), lengths_inputs(inputs)
    return [ROWS, *(padding_key(axis) for axis in axes if axis in lengths), *map(causal_key, axes)]


def values_of(model: onnx.ModelProto, inputs: Tensors) -> dict[str, Value]:
    """Return the record of each tensor of a graph, by name, for the keys of `decide`. Same arguments as `decide`."""
    keys = keys_of(inputs)
    return Walk(ir.serde.deserialize_model(model), keys).run(described_inputs(inputs, keys)).by_name()


def described_inputs(inputs: Tensors, keys: Sequence[Key]) -> dict[str, Value]:
    """Return the record of each input, by name: where its rows and steps lie, and whether it holds lengths."""
    known = {}
    for tensor in inputs:
        shape = plain([named(axis.name) if axis.size == DYNAMIC else axis.size for axis in tensor.axes])
        places = {key: axis_of(tensor, key[1]) for key in keys}
        tracks = {key: Track({(at, 0): Reach()}) for key, at in places.items() if at is not None}
        ends = Ends(tensor.lengths_of, axis_of(tensor, BATCH) or 0) if tensor.lengths_of else None
        known[tensor.name] = Value(shape, tracks, pattern=ends, name=tensor.name)
    return known


def worst(decisions: Iterable[Decision]) -> Decision:
    """Combine several decisions: refuted if one of them is refuted, proven only if all are."""
    found = list(decisions)
    for verdict in (Verdict.REFUTED, Verdict.NOT_DECIDED):
        those = [decision for decision in found if decision.verdict is verdict]
        if those:
            fields = ("reasons", "nodes", "readers", "counting")
            said = ([each for decision in those for each in getattr(decision, name)] for name in fields)
            return Decision(verdict, *(tuple(dict.fromkeys(each)) for each in said))
    return Decision(Verdict.PROVEN)


def _lost(track: Track, prefix: str = "") -> Decision | None:
    """Return the decision on a track whose values mix indices, or may mix them. None if they don't."""
    if track.mixing:
        return Decision(Verdict.REFUTED, tuple(f"{prefix}{reason.node} {reason.sentence}" for reason in track.mixing))
    if not track.undecided:
        return None
    readers = [reason for reason in track.undecided if reason.sentence]
    counting = [reason for reason in readers if reason.sentence in (NUMBERS, COMPUTES, CUTS)]
    named_nodes = (dict.fromkeys(reason.node for reason in each) for each in (track.undecided, readers, counting))
    return Decision(Verdict.NOT_DECIDED, (), *map(tuple, named_nodes))


def _output(tensor: manifest_pb2.Tensor, value: Value, key: Key) -> Decision:
    track, at = value.track(key), axis_of(tensor, key[1])
    if (lost := _lost(track, f'"{tensor.name}": ')) is not None:
        return lost
    unknown = Decision(Verdict.NOT_DECIDED, nodes=(f'output "{tensor.name}"',))
    is_along = (
        at is not None and value.shape is not None and len(value.shape[at]) == 1 and set(track.places) == {(at, 0)}
    )
    if key[0] is Property.ROWS:
        # An axis with any other size isn't an axis of rows: see `guarded`.
        is_same = is_along and dict(track.places) == {(at, 0): Reach()}
        return Decision(Verdict.PROVEN) if is_same else unknown
    ahead = [reach for reach in track.places.values() if reach.offset > 0]
    said = [f'{reach.by} reads {reach.offset} steps ahead of "{key[1]}"' for reach in ahead]
    if not said and len(track.places) > 1 and LAST in track.places:
        said = [f'its steps depend on values after the last step of "{key[1]}"']
    if said:
        return Decision(Verdict.REFUTED, tuple(f'"{tensor.name}": {each}' for each in said))
    is_last = key[0] is Property.CAUSALITY and set(track.places) == {LAST}
    return Decision(Verdict.PROVEN) if not track.places or is_along or is_last else unknown


_WINDOWS = ("Conv", "Slice", "AveragePool", "MaxPool")  # each step of the result is made of a stretch of steps
_ELEMENTWISE = (  # each result value comes from a single value, at any index
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
    """Decide for each output whether its steps depend on others only through the state that some nodes carry.

    The traversal is like the one for rows, but along the sequence: a step must not depend on another step, on the
    number of steps, or on its place among them. An output without steps is the value after the last step.

    `values` has the records of the graph's tensors from another traversal. `carrying` names the nodes that carry state,
    each by the name of a result: these nodes may read any step. It maps each node to the inputs exempt from the check.
    """
    walk = _StepWalk(ir.serde.deserialize_model(model), axis, values, carrying)
    found = walk.run(described_inputs(inputs, [walk.key, causal_key(axis)])).by_name()
    return {tensor.name: _decision(tensor, found[tensor.name].track(walk.key), axis) for tensor in outputs}


class _StepWalk(Walk):
    """A traversal along the sequence, in which the reads of some nodes from other steps count as carried state."""

    def __init__(
        self, model: ir.Model, axis: str, values: Mapping[str, Value], carrying: Mapping[str, Collection[str]]
    ) -> None:
        self.key: Key = (Property.ROWS, axis)
        self._causal = causal_key(axis)
        super().__init__(model, [self.key, self._causal])
        self._axis, self._known, self._carrying = axis, values, carrying
        self._wide: dict[str, Track] = {}  # tensors that begin with carried steps: the track of the uncarried inputs

    def of_node(self, each: ir.Node, node: Node, path: str) -> list[Value]:
        """Return the record of each result of a node. If the node carries state, take it from the other traversal."""
        if path:
            return super().of_node(each, node, path)
        names, given = node.results, ["" if value is None else value.name or "" for value in each.inputs]
        carries = next((name for name in names if name in self._carrying), "")
        if carries:
            counting = [v for name, v in zip(given, node.inputs, strict=True) if name not in self._carrying[carries]]
            lost = join(value.track(self.key).at({}) for value in counting if value is not None)
            lost = join([lost, *self._captured(each, node)])
            return [self._carried(name, lost) if name else Value(None) for name in names]
        wide = self._wide.get(given[0]) if given else None
        if wide is not None and each.op_type in (*_WINDOWS, *_ELEMENTWISE) and self._is_within(names[0]):
            return [self._carried(names[0], wide)]
        return [self._last(node, value) for value in super().of_node(each, node, path)]

    def _captured(self, each: ir.Node, node: Node) -> Iterator[Track]:
        """Yield the tracks of tensors that a loop's body reads from around it. The body may read any of their steps."""
        bodies = [
            attribute.as_graph() for attribute in each.attributes.values() if attribute.type == ir.AttributeType.GRAPH
        ]
        for value in {value for body in bodies for inner in body.all_nodes() for value in inner.inputs}:
            track = self.values[value].track(self.key) if value in self.values else Track()
            yield join([track.at({}), not_decided(node.title)]) if track.places else track

    def _carried(self, name: str, lost: Track) -> Value:
        """Return the record of a result of a node whose reads of other steps are all carried."""
        value = self._known[name]
        causal = value.track(self._causal)
        places = {place: Reach() for place in causal.places if place != LAST}
        if self._is_within(name) and self._more(name):
            self._wide[name] = lost
        tracks = {self.key: join([Track(places), lost]), self._causal: causal}
        return dataclasses.replace(value, tracks=tracks, pattern=None)

    def _more(self, name: str) -> int | None:
        """Return how many more steps a tensor has than the sequence. None if this isn't known."""
        value = self._known.get(name)
        places = [] if value is None else [at for at, _ in value.track(self._causal).places if at >= 0]
        if value is None or value.shape is None or len(places) != 1:
            return None
        return (size_of(value.shape[places[0]]) - named(self._axis)).number

    def _is_within(self, name: str) -> bool:
        """Whether a tensor begins with as many extra steps as its values reach back."""
        value, more = self._known.get(name), self._more(name)
        if value is None or more is None or value.track(self._causal).is_lost:
            return False
        return all(reach.offset <= -more <= 0 for reach in value.track(self._causal).places.values())

    def _last(self, node: Node, value: Value) -> Value:
        """Clear the track of a value that is final only after the last step, because it isn't a step."""
        causal = value.track(self._causal)
        if set(causal.places) != {LAST} or causal.is_lost or any(v.track(self.key).is_lost for v in node.given):
            return value
        return dataclasses.replace(value, tracks={**value.tracks, self.key: Track()})


def _decision(tensor: manifest_pb2.Tensor, track: Track, axis: str) -> Decision:
    at = axis_of(tensor, axis)
    is_same = dict(track.places) == ({} if at is None else {(at, 0): Reach()})
    otherwise = Decision(Verdict.PROVEN) if is_same else Decision(Verdict.NOT_DECIDED, (), (f'output "{tensor.name}"',))
    return _lost(track) or otherwise


def counts_steps(model: onnx.ModelProto, inputs: Tensors, outputs: Tensors, axis: str) -> bool:
    """Whether an output may depend on the numbers of a request's steps, or on how many steps there are."""
    key: Key = (Property.ROWS, axis)
    walk = Walk(ir.serde.deserialize_model(model), [key]).run(described_inputs(inputs, [key]))
    tracks = [walk.by_name()[tensor.name].track(key) for tensor in outputs]
    reasons = [reason for track in tracks for reason in (*track.mixing, *track.undecided)]
    return any(reason.is_of_numbers or reason.sentence.startswith(COUNTS) for reason in reasons)
