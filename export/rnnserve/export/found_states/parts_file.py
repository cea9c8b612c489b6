"""model.parts.onnx: the graph that serves, with states that were found in it as further inputs and outputs.

Before it is taken, sequences are run whole and in parts, which have to give the same bits (`CutTrial`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.analysis import Decision
from rnnserve.export.analysis.decisions import counts_steps
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.finding import FoundStates, find_states
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.onnx_files import load_proto, save_proto
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.graph_findings import finding
from rnnserve.export.tensors import axis_of, draw_inputs, is_state, lengths_inputs, size_limits, sizes_of, take_steps
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, MANIFEST, MODEL, PARTS, SCAN, Version
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.differences import distances
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import dump_defaults, fill_left_out, load_defaults

__all__ = ["UNSEEN", "PartsFile", "find_parts", "find_parts_of", "parts_failures"]

Arrays = Mapping[str, npt.NDArray[Any]]
Tensors = Sequence[manifest_pb2.Tensor]
Run = Callable[[Arrays], Arrays]

UNSEEN = "whether a cut changes a result depends on values, of which drawn ones say too little"
"""The reason if steps are read though the trial's values didn't show it."""
_LARGEST = 64  # steps or rows that are drawn if the model takes any number


@dataclasses.dataclass(frozen=True)
class PartsFile:
    """What a version records about parts of sequences."""

    record: manifest_pb2.Parts | None = None  # None for a model without sequences
    data: bytes | None = None  # of the file, if there is one
    defaults: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)  # of states that aren't zeros

    def files(self, defaults: Arrays) -> dict[str, bytes]:
        """Give the files of a version for parts of sequences, and for defaults: these and those of its interface."""
        every = {**defaults, **self.defaults}
        files = {} if self.data is None else {PARTS: self.data}
        return files | ({DEFAULTS: dump_defaults(every)} if every else {})


def find_parts(
    model: ModelDescription, served: str, files: Mapping[str, bytes], load: Callable[[bytes], Run]
) -> PartsFile:
    """Find what a graph carries from step to step, expose it, and try the result.

    `served` is the name of the graph that serves among the version's `files`. `load` makes a graph ready to run.
    """
    if not model.sequence_axes:
        return PartsFile()
    found, source = _find(model, served, files)
    parts = PartsFile(manifest_pb2.Parts(reason=found.reason, steps=finding(found.decision, tried=not found.reason)))
    if not found.reason:
        parts = _tried(model, served, files, found, source, load, parts)
    record = parts.record
    declares = len(model.sequence_axes) == 1 and any(tensor.continues_as for tensor in model.outputs)
    if record is not None and parts.data is None and declares:
        record.not_continued = not_continued(model, load_proto(files[served]), load(files[served]), found.decision)
    return parts


def _find(model: ModelDescription, served: str, files: Mapping[str, bytes]) -> tuple[FoundStates, str]:
    """Find the states of a graph, and the file in which they were found.

    The loop to which an operator was lowered runs past the end of short rows: its state there isn't known. So if there
    are lengths, states are found in the graph with the operator, which is lowered with them.
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


def _tried(
    model: ModelDescription,
    served: str,
    files: Mapping[str, bytes],
    found: FoundStates,
    source: str,
    load: Callable[[bytes], Run],
    parts: PartsFile,
) -> PartsFile:
    """Run sequences whole and in parts, and complete the record."""
    record = parts.record
    assert record is not None  # noqa: S101 - for mypy
    cut = None if found.model is None else save_proto(found.model)
    initial, final = [state.initial for state in found.states], [state.final for state in found.states]
    try:
        defaults = _defaults(model, load_proto(files[source]), found, load)
        whole = load(files[served])
        trial = CutTrial(model, whole, whole if cut is None else load(cut), initial, final, defaults)
        difference = trial.difference()
    except RuntimeError as error:  # of onnxruntime, which the graph itself has passed
        record.reason = f"onnxruntime does not run its graph in parts: {' '.join(str(error).split())}"
        return parts
    except ValueError as error:
        record.reason = str(error)
        return parts
    if difference or found.decision.readers:
        node = next(iter((*found.decision.readers, *found.decision.nodes)), "")
        record.reason = (f"{node} may read other steps: " if node else "") + (difference or UNSEEN)
        return parts
    if cut is not None:
        record.file, record.made_of = PARTS, served
        record.inputs.extend(initial)
        record.outputs.extend(final)
    return PartsFile(record, cut, defaults)


def _defaults(
    model: ModelDescription, graph: onnx.ModelProto, found: FoundStates, load: Callable[[bytes], Run]
) -> dict[str, npt.NDArray[Any]]:
    """Give what stands for states that don't begin with zeros. Raises ValueError if rows begin differently."""
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
            raise ValueError(f'"{tensor.name}" begins with another value for each row')
        if np.isnan(first).any():  # infinity is what a running maximum begins with
            raise ValueError(f'"{tensor.name}" begins with NaN')
        defaults[tensor.name] = first
    return defaults


def parts_failures(version: Version) -> list[str]:
    """Find again what a version records about parts of sequences. Describe what has changed since.

    Nothing is compared for versions without a record.
    """
    manifest = version.manifest
    if not manifest.HasField("parts"):
        return []
    served = manifest.parts.made_of or manifest.graph.file or MODEL
    if served not in version.files:
        return [f"{MANIFEST}: {PARTS} is made of {served}, which there is not"]
    found = find_parts_of(manifest, version.files, served)
    reason = "" if found.record is None else found.record.reason
    if bool(reason) != bool(manifest.parts.reason) or bool(found.data) != bool(manifest.parts.file):
        said, now = manifest.parts.reason or "may be cut", reason or "may be cut"
        return [f'{MANIFEST}: says "{said}" of its sequences, but found "{now}"']
    counting = "" if found.record is None else found.record.not_continued
    if counting and not manifest.parts.not_continued:
        return [f'{MANIFEST}: says that sequences may go on from declared states, but found "{counting}"']
    if found.data is not None and found.data != version.files.get(PARTS):
        return [f"{PARTS}: is another graph than the one that is found in {served}"]
    return []


def find_parts_of(manifest: manifest_pb2.Manifest, files: Mapping[str, bytes], served: str) -> PartsFile:
    """Find what a published version's graph `served` carries from step to step, expose it, and try the result."""
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
_ROWS = (2, 4)  # even: of an odd number of rows onnxruntime computes the last one by another kernel


@dataclasses.dataclass(frozen=True)
class CutTrial:
    """Runs of a model with one sequence axis: its graph as a whole, and in parts with found states besides."""

    model: ModelDescription
    whole: Run  # the graph that serves
    parts: Run  # the same with found states as further inputs and outputs
    initial: Tensors = ()  # these inputs
    final: Tensors = ()  # these outputs, in the same order
    defaults: Arrays = dataclasses.field(default_factory=dict)  # of initial states that are not zeros, by name

    def difference(self) -> str:
        """Describe what differs if a sequence is cut. Empty if nothing does."""
        for inputs, ragged in self._batches():
            if said := self._differs(inputs) or (self._lost(inputs) if ragged else ""):
                return said
        return ""

    def _batches(self) -> Iterator[tuple[dict[str, npt.NDArray[Any]], bool]]:
        """Draw inputs of full lengths, and of others if the model takes lengths."""
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
        """Compare the whole with parts."""
        (axis,) = self.model.sequence_axes
        steps = sizes_of(self.model.inputs, inputs)[axis]
        smallest = size_limits(self.model.inputs)[axis][0]
        inputs = {**inputs, **take_steps(self.model.inputs, inputs, axis, range(steps))}  # of full lengths
        # The states after all steps are compared, too: a server does, since further parts continue from them.
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
        """Run parts of so many steps one after the other, each from the states of the one before."""
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
        """Compare the states of rows that are shorter than the batch with those of rows of their length."""
        (axis,) = self.model.sequence_axes
        states = self.parts(self._begun(inputs))
        for row, length in enumerate(inputs[lengths_inputs(self.model.inputs)[axis]]):
            cut = take_steps(self.model.inputs, inputs, axis, range(int(length)))
            alone = self.parts(self._begun({**inputs, **cut}))
            for tensor in self.final:
                at = axis_of(tensor, BATCH) or 0
                if np.take(states[tensor.name], row, at).tobytes() != np.take(alone[tensor.name], row, at).tobytes():
                    return f'its state "{tensor.continues_as}" goes on after the length of a row'
        return ""

    def _begun(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        tensors = [*self.model.inputs, *self.initial]
        return fill_left_out(tensors, inputs, self.defaults, sizes_of(self.model.inputs, inputs))


def _sizes(inputs: Tensors, wanted: Mapping[str, int]) -> dict[str, int]:
    """Give each dynamic axis the size that is wanted, or 1, as far as its limits allow."""
    found = {}
    for axis, (low, high) in size_limits(inputs).items():
        size = wanted.get(axis, 1)
        found[axis] = min(max(size, low), size if high is None else high)
    return found


_MANY_STEPS = tuple(2**power for power in range(12, 0, -1))
"""As far as the model takes them. Each is cut in halves, so that a change at any number of steps up to 4096 shows."""
_LOUD = 100.0  # times the usual, in a second trial
_TOLERANCE = 1e-3
"""Largest difference between floats of the whole and of the parts that is rounding, as a part of the largest value, or
of 1: that of a server's trial."""
_AMPLIFIED = 100.0
"""Largest difference that is rounding, as a multiple of what inputs that are moved by an ulp do."""


def not_continued(model: ModelDescription, graph: onnx.ModelProto, run: Run, decision: Decision) -> str:
    """Give the reason why sequences can't go on from the declared states of a model. Empty if they can.

    That is as far as it is known: it is tried only if the graph may count steps, or read states elsewhere.
    """
    (axis,) = model.sequence_axes
    if not (decision.readers or counts_steps(graph, model.inputs, model.outputs, axis)):
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
        except RuntimeError:  # of onnxruntime: fewer steps are left to try, such as those that a table has
            continue
        for tensor in model.outputs:
            if said := _long_difference(tensor, *(arrays[tensor.name] for arrays in runs)):
                return said
    return ""


def _long_batches(model: ModelDescription, axis: str) -> Iterator[Arrays]:
    """Draw inputs of many steps, usual ones and loud ones. Counters begin with the least that they can be."""
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
    if DTYPES[tensor.datatype].kind != "f":  # rounding may turn a choice, such as an argmax
        return said if tensor.continues_as and whole.tobytes() != parts.tobytes() else ""
    distance, rounding = (float(distances(whole, each).max(initial=0.0)) for each in (parts, moved))
    limit = _TOLERANCE * max(1.0, float(np.abs(whole[np.isfinite(whole)]).max(initial=0.0)))
    if distance <= max(limit, _AMPLIFIED * rounding):
        return ""
    return f"{said}, by {distance:.2g} in one trial of many steps"
