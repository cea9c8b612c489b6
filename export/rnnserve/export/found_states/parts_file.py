"""Make model.parts.onnx: the serving graph with its inferred states as additional inputs and outputs.

First, this module finds the states that the graph carries from step to step, and decides whether a sequence can be cut
into parts there. Then it runs sequences whole and in parts, and keeps the graph only if the results are equal bit for
bit (`CutTrial`).
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis import Decision, Property, Verdict, worst
from rnnserve.export.analysis.decisions import counts_steps, decide_of, decide_steps, values_of
from rnnserve.export.analysis.values import NotCovered
from rnnserve.export.analysis.walk import OF_MICROSOFT
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.places import (
    RECURRENT,
    FoundState,
    KnownGraph,
    Obstacle,
    Place,
    captured_names,
    find_convolution,
    find_join,
    find_operator_with_state,
    find_padding,
    find_recurrence,
    find_scan,
    find_sum,
    name_results,
)
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.onnx_files import load_proto, save_proto
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.batching_safety import finding
from rnnserve.export.tensors import (
    axis_of,
    draw_inputs,
    is_state,
    lengths_inputs,
    sequence_axes,
    size_limits,
    sizes_of,
    take_steps,
)
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, MANIFEST, MODEL, PARTS, SCAN, Version
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.differences import distances
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import dump_defaults, fill_left_out, load_defaults

Arrays = Mapping[str, npt.NDArray[Any]]
Tensors = Sequence[manifest_pb2.Tensor]
Run = Callable[[Arrays], Arrays]

_FINDERS: dict[str, Callable[[KnownGraph, int, onnx.NodeProto, str], Place | None]] = {
    **dict.fromkeys(RECURRENT, find_recurrence),
    "Scan": find_scan,
    "LinearAttention": find_operator_with_state,
    "CausalConvWithState": find_operator_with_state,
    "Loop": lambda graph, _, node, __: _refuse_loop(graph, node),
    "Pad": find_padding,
    "Conv": find_convolution,
    "Concat": find_join,
    "CumSum": find_sum,
}


_UNDECIDED = Decision(Verdict.NOT_DECIDED)


@dataclasses.dataclass(frozen=True)
class FoundStates:
    """The inferred states of a graph, or the reason why sequences can't be cut."""

    states: Sequence[FoundState] = ()  # the undeclared states that the graph carries from step to step
    model: onnx.ModelProto | None = None  # the graph with these states as inputs and outputs, if there are any
    reason: str = ""  # why a sequence can't be cut into parts
    decision: Decision = _UNDECIDED  # for all outputs together: whether steps depend on others only through states


def find_states(model: onnx.ModelProto, inputs: Tensors, outputs: Tensors) -> FoundStates:
    """Find the states that a graph carries from step to step, and expose them in a copy, which is still to be tried."""
    axes = sequence_axes(inputs)
    if len(axes) != 1:
        said = f"more than one sequence axis: {', '.join(axes)}" if axes else "no sequence axis"
        return FoundStates(reason=f"it has {said}")
    (axis,) = axes
    other = next(filter(None, (_other_steps(tensor, axis) for tensor in outputs)), "")
    if other:
        return FoundStates(reason=other)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    name_results(copy)
    values = values_of(copy, inputs)
    causality = decide_of(values, inputs, outputs)[Property.CAUSALITY]
    causal = worst(causality.values())
    if causal.verdict is Verdict.REFUTED:
        return FoundStates(reason=_shown(causal.reasons), decision=causal)
    try:
        places = _places(KnownGraph(copy, inputs, outputs, axis, values))
    except Obstacle as obstacle:
        return FoundStates(reason=str(obstacle))
    carrying = {
        name: place.unread for place in places for name in (*copy.graph.node[place.node].output, *place.before) if name
    }
    steps = decide_steps(copy, inputs, outputs, axis, values, carrying)
    decision = dataclasses.replace(worst([causal, *steps.values()]), readers=_readers(outputs, causality, steps))
    if decision.verdict is Verdict.REFUTED:
        return FoundStates(reason=_shown(decision.reasons), decision=decision)
    states = [state for place in places for state in place.states]
    return FoundStates(states, _cut(copy, places) if states else None, decision=decision)


def _shown(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"


def _readers(outputs: Tensors, *decisions: Mapping[str, Decision]) -> tuple[str, ...]:
    """Return the nodes known to read other steps for an output that isn't a declared state."""
    names = [tensor.name for tensor in outputs if not tensor.continues_as]
    return tuple(dict.fromkeys(reader for each in decisions for name in names for reader in each[name].readers))


def _refuse_loop(graph: KnownGraph, node: onnx.NodeProto) -> None:
    """Raise Obstacle for a Loop that reads steps or their number, because it may carry or count anything."""
    (body,) = (each.g for each in node.attribute if each.name == "body")
    if any(graph.depends_on_steps(name) for name in (*node.input, *captured_names(body)) if name):
        raise Obstacle("it is a Loop, whose states the export does not look for; a Scan over the steps would work")


def _other_steps(tensor: manifest_pb2.Tensor, axis: str) -> str:
    """Describe how an output's steps differ from the sequence's. Empty if they are the same, or if it has none."""
    for derived in tensor.derived_axes:
        return f'its output "{tensor.name}" has {derived.name} steps instead of one for each of "{derived.of}"'
    if [each.name for each in tensor.axes].count(axis) > 1:
        return f'its output "{tensor.name}" has the axis "{axis}" twice, so each step depends on all others'
    return ""


def _places(graph: KnownGraph) -> list[Place]:
    """Find all places. Raises Obstacle with the node in its message if the graph can't be cut."""
    nodes = graph.model.graph.node
    known = [number for number, node in enumerate(nodes) if not node.domain or node.op_type in OF_MICROSOFT]
    numbers = [number for number in known if nodes[number].op_type in _FINDERS]
    # The numbering in names skips nodes that carry nothing, so find the carrying nodes first.
    first = [place for number in numbers if (place := _place(graph, number, f"found/{number}")) is not None]
    prefixes = _name_prefixes(graph.model.graph, [place.node for place in first if place.states])
    found = [_place(graph, place.node, prefixes.get(place.node, f"found/{place.node}")) for place in first]
    return [place for place in found if place is not None]


def _place(graph: KnownGraph, number: int, prefix: str) -> Place | None:
    node = graph.model.graph.node[number]
    title = node.name.rpartition("/")[0] or node.name or node.op_type.lower()
    try:
        return _FINDERS[node.op_type](graph, number, node, prefix)
    except Obstacle as obstacle:
        raise Obstacle(f"{title}: {obstacle}") from None
    except (NotCovered, LookupError, StopIteration, TypeError, ValueError):  # as for a rule: a file may hold anything
        raise Obstacle(f"{title}: it is a {node.op_type} in a form that the analysis does not know") from None


def _cut(model: onnx.ModelProto, places: Sequence[Place]) -> onnx.ModelProto:
    """Insert the nodes of places, and add their states to the inputs and outputs."""
    changed = {number: nodes for place in places for number, nodes in place.nodes.items()}
    nodes = [new for number, node in enumerate(model.graph.node) for new in changed.get(number, [node])]
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:]
    del cut.graph.value_info[:]  # some tensors have one more step now, and onnxruntime trusts this information
    cut.graph.node.extend(nodes)
    for place in places:
        cut.graph.initializer.extend(place.initializers)
        for state in place.states:
            cut.graph.input.append(_value(state.initial))
            cut.graph.output.append(_value(state.final))
    return cut


def _value(tensor: manifest_pb2.Tensor) -> onnx.ValueInfoProto:
    shape = [axis.name if axis.size < 0 else axis.size for axis in tensor.axes]
    element_type = onnx.helper.np_dtype_to_tensor_dtype(DTYPES[tensor.datatype])
    return onnx.helper.make_tensor_value_info(tensor.name, element_type, shape)


_GIVEN = re.compile(r"/(\d+|joined|constant_\d+)|\.((h|c|last|sum)(_n)?|state.*)")
"""The suffixes after a prefix in the names of states and of the nodes that compute them."""
_LOOP = re.compile(r"(^|/)loop_\d+$")
"""The part of a node's name between its module's path and the loop that replaces an RNN operator."""
_ODD = re.compile(r"[^\w.]+")


def _name_prefixes(graph: onnx.GraphProto, numbers: Sequence[int]) -> dict[int, str]:
    """Choose the prefix of the state names for some nodes, so that no new name is already in use in the graph.

    Exported nodes are named after their module, such as "encoder.0/node_gru__1". Their states are named "encoder.0.h".
    If a module "encoder" has several such nodes, their states are numbered: "encoder.0.h", "encoder.1.h".
    """
    paths = {number: _path(graph, graph.node[number]) for number in numbers}
    taken = [name for node in graph.node for name in (*node.input, *node.output)]
    taken += [value.name for value in (*graph.input, *graph.output)] + [tensor.name for tensor in graph.initializer]
    prefixes: dict[int, str] = {}
    for number, path in paths.items():
        alike = [other for other, its in paths.items() if its == path]
        prefix = path if len(alike) == 1 else f"{path}.{alike.index(number)}"
        while prefix in prefixes.values() or any(
            name.startswith(prefix) and _GIVEN.fullmatch(name, len(prefix)) for name in taken
        ):
            prefix += "_"
        prefixes[number] = prefix
    return prefixes


def _path(graph: onnx.GraphProto, node: onnx.NodeProto) -> str:
    """Return the path of a node's module, or of the convolution that reads a Pad node. If unknown, the operator."""
    path = _LOOP.sub("", node.name.rpartition("/")[0])
    reader = next((each for each in graph.node if node.output[0] in each.input), None)
    if not path and reader is not None and reader.op_type == "Conv":
        path = reader.name.rpartition("/")[0]
    return _ODD.sub("_", path.strip("/").replace("/", ".")) or node.op_type.lower()


UNSEEN = "whether a cut changes a result depends on values, and random values cannot settle it"
"""The reason if the graph reads other steps though the values of the trial didn't show it."""
_LARGEST = 64  # steps or rows to draw if the model takes any number


@dataclasses.dataclass(frozen=True)
class PartsFile:
    """A version's record about parts of sequences, with the files that belong to it."""

    record: manifest_pb2.Parts | None = None  # None for a model without sequences
    data: bytes | None = None  # of model.parts.onnx, if there is one
    defaults: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)  # of states that aren't zeros

    def files(self, defaults: Arrays) -> dict[str, bytes]:
        """Return the version's files for parts of sequences and for defaults, including the interface's `defaults`."""
        every = {**defaults, **self.defaults}
        files = {} if self.data is None else {PARTS: self.data}
        return files | ({DEFAULTS: dump_defaults(every)} if every else {})


def find_parts(
    model: ModelDescription, served: str, files: Mapping[str, bytes], load: Callable[[bytes], Run]
) -> PartsFile:
    """Find the states that a graph carries from step to step, expose them, and try the result.

    `served` is the name of the serving graph among the version's `files`. `load` makes a graph ready to run.
    """
    if not model.sequence_axes:
        return PartsFile()
    found, source = _find(model, served, files)
    record = manifest_pb2.Parts(reason=found.reason, steps=finding(found.decision, tried=not found.reason))
    data = None if found.model is None else save_proto(found.model)
    defaults: Arrays = {}
    if not found.reason:
        try:
            defaults = _defaults(model, load_proto(files[source]), found, load)
            whole = load(files[served])
            record.reason = _obstacle(model, found, whole, whole if data is None else load(data), defaults)
        except RuntimeError as error:  # from onnxruntime, though the graph itself ran
            record.reason = f"onnxruntime does not run its graph in parts: {' '.join(str(error).split())}"
        except ValueError as error:
            record.reason = str(error)
    if record.reason:
        data, defaults = None, {}
    if data is not None:
        record.file, record.made_of = PARTS, served
        record.inputs.extend(state.initial for state in found.states)
        record.outputs.extend(state.final for state in found.states)
    elif len(model.sequence_axes) == 1 and any(tensor.continues_as for tensor in model.outputs):
        record.not_continued = not_continued(model, load_proto(files[served]), load(files[served]), found)
    return PartsFile(record, data, defaults)


def _obstacle(model: ModelDescription, found: FoundStates, whole: Run, parts: Run, defaults: Arrays) -> str:
    """Run sequences whole and in parts. Returns the reason why they can't be cut, or an empty string."""
    initial, final = [state.initial for state in found.states], [state.final for state in found.states]
    difference = CutTrial(model, whole, parts, initial, final, defaults).difference()
    if not (difference or found.decision.readers):
        return ""
    node = next(iter((*found.decision.readers, *found.decision.nodes)), "")
    return (f"{node} may read other steps: " if node else "") + (difference or UNSEEN)


def _find(model: ModelDescription, served: str, files: Mapping[str, bytes]) -> tuple[FoundStates, str]:
    """Find the states of a graph, and return them with the file in which they were found.

    If an RNN operator was lowered to a loop, the loop runs past the end of short rows, so the state at a row's end is
    lost. If there are lengths, the states are therefore found in the graph with the operator, which is then lowered
    with its states.
    """

    def found_in(file: str) -> FoundStates:
        graph = load_proto(files[file])
        return find_states(graph, model.inputs, model.outputs)

    found = found_in(served)
    if found.reason and served == SCAN:
        native = found_in(MODEL)
        lowered = None if native.model is None else lower_rnn(save_proto(native.model))
        if lowered is not None:
            return dataclasses.replace(native, model=load_proto(lowered)), MODEL
    return found, served


def _defaults(
    model: ModelDescription, graph: onnx.ModelProto, found: FoundStates, load: Callable[[bytes], Run]
) -> dict[str, npt.NDArray[Any]]:
    """Return the defaults of states that don't begin with zeros. Raises ValueError if they differ by row or are NaN."""
    defaults = {state.initial.name: state.default for state in found.states if state.default is not None}
    computed = {state.computed: state.initial for state in found.states if state.computed}
    if not computed:
        return defaults
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    sizes = {axis: min(max(2 if axis == BATCH else 3, low), high) for axis, (low, high) in model.sizes.items()}
    results = load(save_proto(shown))(draw_inputs(model.inputs, np.random.default_rng(0), sizes))
    for name, tensor in computed.items():
        rows = next(at for at, axis in enumerate(tensor.axes) if axis.size < 0)
        array = results[name]
        first = np.take(array, [0], rows)
        if array.shape[rows] > 1 and not (array == first).all():
            raise ValueError(f'"{tensor.name}" begins with a different value for each row')
        if np.isnan(first).any():  # infinity is allowed, because running maxima begin with it
            raise ValueError(f'"{tensor.name}" begins with NaN')
        defaults[tensor.name] = first
    return defaults


def parts_failures(version: Version) -> list[str]:
    """Repeat the search behind a version's record about parts of sequences, and describe the differences.

    Versions without a record are not checked.
    """
    manifest = version.manifest
    if not manifest.HasField("parts"):
        return []
    served = manifest.parts.made_of or manifest.graph.file or MODEL
    if served not in version.files:
        return [f"{MANIFEST}: {PARTS} is made of {served}, but the version has no such file"]
    found = find_parts_of(manifest, version.files, served)
    reason = "" if found.record is None else found.record.reason
    if bool(reason) != bool(manifest.parts.reason) or bool(found.data) != bool(manifest.parts.file):
        said, now = manifest.parts.reason or "can be cut", reason or "can be cut"
        return [f'{MANIFEST}: records "{said}" for its sequences, but found "{now}"']
    counting = "" if found.record is None else found.record.not_continued
    if counting and not manifest.parts.not_continued:
        return [f'{MANIFEST}: records that sequences can continue from declared states, but found "{counting}"']
    if found.data is not None and found.data != version.files.get(PARTS):
        return [f"{PARTS}: differs from the graph found in {served}"]
    return []


def find_parts_of(manifest: manifest_pb2.Manifest, files: Mapping[str, bytes], served: str) -> PartsFile:
    """Find and expose the states of the graph `served` of a published version, and try the result."""
    limits = size_limits(manifest.inputs)
    return find_parts(
        ModelDescription(
            name=manifest.model,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            labels=manifest.labels,
            samples=(),
            sizes={axis: (low, high or max(low, _LARGEST)) for axis, (low, high) in limits.items()},
            checkpoint_sha256=manifest.checkpoint_sha256,
            allow_non_finite=manifest.finiteness.allowed,
            defaults=load_defaults(files, manifest.inputs),
        ),
        served,
        files,
        OnnxRunner,
    )


_STEPS = (2, 3, 7, 12)
_ROWS = (2, 4)  # even, because onnxruntime computes the last of an odd number of rows by another kernel


@dataclasses.dataclass(frozen=True)
class CutTrial:
    """Runs of a model with one sequence axis, whole and in parts. The parts also pass on the inferred states."""

    model: ModelDescription
    whole: Run  # the graph that serves
    parts: Run  # the same graph with the inferred states as additional inputs and outputs
    initial: Tensors = ()  # these inputs
    final: Tensors = ()  # these outputs, in the same order
    defaults: Arrays = dataclasses.field(default_factory=dict)  # of initial states that don't begin with zeros, by name

    def difference(self) -> str:
        """Describe how results change if a sequence is cut. Empty if they don't."""
        for inputs, ragged in self._batches():
            if said := self._differs(inputs) or (self._lost(inputs) if ragged else ""):
                return said
        return ""

    def _batches(self) -> Iterator[tuple[dict[str, npt.NDArray[Any]], bool]]:
        """Yield inputs of full lengths, and of mixed lengths if the model takes lengths."""
        random, inputs = np.random.default_rng(0), self.model.inputs
        (axis,) = self.model.sequence_axes
        for sample in self.model.samples[:1]:
            places = {tensor.name: axis_of(tensor, BATCH) or 0 for tensor in inputs}
            yield {name: np.concatenate([array, array], places[name]) for name, array in sample.items()}, False
        for sizes in (_sizes(inputs, {axis: steps, BATCH: rows}) for steps in _STEPS for rows in _ROWS):
            yield draw_inputs(inputs, random, sizes), False
            if axis in lengths_inputs(inputs):
                yield draw_inputs(inputs, random, sizes, ragged=True), True

    def _differs(self, inputs: Arrays) -> str:
        """Compare a whole sequence with its parts, and describe the first difference."""
        (axis,) = self.model.sequence_axes
        steps = sizes_of(self.model.inputs, inputs)[axis]
        smallest = size_limits(self.model.inputs)[axis][0]
        inputs = {**inputs, **take_steps(self.model.inputs, inputs, axis, range(steps))}  # of full lengths
        # Also compare the states after all steps, as servers do, because further parts continue from them.
        begun = self.in_parts(inputs, [steps])
        wanted = {**self.whole(inputs), **{tensor.name: begun[tensor.name] for tensor in self.final}}
        cuts = [[steps], [1] * steps, [steps // 2, steps - steps // 2], [1, steps - 1], [steps - 1, 1]]
        for parts in (parts for parts in cuts if min(parts) >= smallest and (len(parts) > 1 or steps > 1)):
            found = self.in_parts(inputs, parts)
            for tensor in (*self.model.outputs, *self.final):
                one, other = wanted[tensor.name], found[tensor.name]
                if one.tobytes() != other.tobytes():
                    what = f'state "{tensor.continues_as}"' if tensor in self.final else f'output "{tensor.name}"'
                    is_measured = one.shape == other.shape and one.dtype.kind == "f"
                    by = f" by {float(np.nanmax(np.abs(one - other))):.2g} in one trial" if is_measured else ""
                    return f"cutting a sequence changes its {what}{by}"
        return ""

    def in_parts(self, inputs: Arrays, parts: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """Run consecutive parts with these numbers of steps, each from the states after the previous part."""
        (axis,) = self.model.sequence_axes
        given = self._begun(inputs)
        outputs = [*self.model.outputs, *self.final]
        results = []
        at = 0
        for steps in parts:
            cut = take_steps(self.model.inputs, inputs, axis, range(at, at + steps))
            results.append(self.parts({**given, **cut}))
            given |= {tensor.continues_as: results[-1][tensor.name] for tensor in outputs if tensor.continues_as}
            at += steps
        places = {tensor.name: axis_of(tensor, axis) for tensor in self.model.outputs}
        return {
            tensor.name: results[-1][tensor.name]
            if (place := places.get(tensor.name)) is None
            else np.concatenate([each[tensor.name] for each in results], place)
            for tensor in outputs
        }

    def _lost(self, inputs: Arrays) -> str:
        """Compare the final states of short rows in a longer batch with their final states without padding."""
        (axis,) = self.model.sequence_axes
        states = self.parts(self._begun(inputs))
        for row, length in enumerate(inputs[lengths_inputs(self.model.inputs)[axis]]):
            cut = take_steps(self.model.inputs, inputs, axis, range(int(length)))
            alone = self.parts(self._begun({**inputs, **cut}))
            for tensor in self.final:
                at = axis_of(tensor, BATCH) or 0
                if np.take(states[tensor.name], row, at).tobytes() != np.take(alone[tensor.name], row, at).tobytes():
                    return f'its state "{tensor.continues_as}" still changes after the length of a row'
        return ""

    def _begun(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        tensors = [*self.model.inputs, *self.initial]
        return fill_left_out(tensors, inputs, self.defaults, sizes_of(self.model.inputs, inputs))


def _sizes(inputs: Tensors, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the wanted size for each dynamic axis (1 by default), within the axis's limits."""
    found = {}
    for axis, (low, high) in size_limits(inputs).items():
        size = wanted.get(axis, 1)
        found[axis] = min(max(size, low), size if high is None else high)
    return found


_MANY_STEPS = tuple(2**power for power in range(12, 0, -1))
"""Numbers of steps, as far as the model takes them. Halving each reveals a change at any number of steps up to 4096."""
_LOUD = 100.0  # factor on the usual inputs, in a second trial
_TOLERANCE = 1e-3
"""Rounding limit for floats, relative to the largest value or to 1: the limit of the server's load check."""
_AMPLIFIED = 100.0
"""Rounding limit as a multiple of the change in the results if all inputs move by one ulp."""


def not_continued(model: ModelDescription, graph: onnx.ModelProto, run: Run, found: FoundStates) -> str:
    """Return the reason why sequences can't continue from a model's declared states. Empty if no reason is known.

    This is tried only if the graph may count steps, or may read states in another place, or carries states that aren't
    declared.
    """
    (axis,) = model.sequence_axes
    if not (found.states or found.decision.readers or counts_steps(graph, model.inputs, model.outputs, axis)):
        return ""
    trial = CutTrial(model, run, run)
    for inputs in _long_batches(model, axis):
        steps = sizes_of(model.inputs, inputs)[axis]
        moved = {
            name: np.nextafter(array, np.array(np.inf, array.dtype)) if array.dtype.kind == "f" else array
            for name, array in inputs.items()
        }
        try:
            runs = run(inputs), trial.in_parts(inputs, [steps // 2, steps - steps // 2]), run(moved)
        except RuntimeError:  # from onnxruntime: the model has a limit, such as a table's size, so try fewer steps
            continue
        for tensor in model.outputs:
            if said := _long_difference(tensor, *(arrays[tensor.name] for arrays in runs)):
                return said
    return ""


def _long_batches(model: ModelDescription, axis: str) -> Iterator[Arrays]:
    """Yield inputs of many steps, at usual and at loud values. Counters begin with their lowest value."""
    random, seen = np.random.default_rng(0), set()
    for wanted in _MANY_STEPS:
        sizes = _sizes(model.inputs, {axis: wanted, BATCH: _ROWS[0]})
        if sizes[axis] in seen or sizes[axis] // 2 < size_limits(model.inputs)[axis][0] or sizes[axis] < 2:
            continue
        seen.add(sizes[axis])
        for times in (1.0, _LOUD):
            begun = dict(draw_inputs(model.inputs, random, sizes))
            for tensor in model.inputs:
                array = begun[tensor.name]
                if is_state(tensor) and array.dtype.kind in "iu":
                    low = tensor.integers.low if tensor.HasField("integers") else 0
                    begun[tensor.name] = np.full_like(array, low)
                elif array.dtype.kind == "f" and not (is_state(tensor) or tensor.HasField("floats")):
                    begun[tensor.name] = (array * times).astype(array.dtype)
            yield begun


def _long_difference(
    tensor: manifest_pb2.Tensor, whole: npt.NDArray[Any], parts: npt.NDArray[Any], moved: npt.NDArray[Any]
) -> str:
    said = f'cutting a sequence changes its output "{tensor.name}"'
    if whole.shape != parts.shape:
        return said
    if DTYPES[tensor.datatype].kind != "f":  # rounding may change a choice such as an argmax
        return said if tensor.continues_as and whole.tobytes() != parts.tobytes() else ""
    distance, rounding = (float(distances(whole, each).max(initial=0.0)) for each in (parts, moved))
    limit = _TOLERANCE * max(1.0, float(np.abs(whole[np.isfinite(whole)]).max(initial=0.0)))
    if distance <= max(limit, _AMPLIFIED * rounding):
        return ""
    return f"{said}, by {distance:.2g} in one trial of many steps"
