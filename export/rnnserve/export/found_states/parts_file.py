"""model.parts.onnx: the graph that serves, with states that were found in it as further inputs and outputs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.cut_trial import Arrays, CutTrial, Run, not_continued
from rnnserve.export.found_states.finding import FoundStates, find_states
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.onnx_files import load_proto, save_proto
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.graph_findings import finding
from rnnserve.export.tensors import draw_inputs, size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, MANIFEST, MODEL, PARTS, SCAN, Version
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import dump_defaults, load_defaults

__all__ = ["UNSEEN", "PartsFile", "find_parts", "find_parts_of", "parts_failures"]

UNSEEN = "whether a cut changes a result depends on values, of which drawn ones say too little"
"""The reason if steps are read though the trial's values didn't show it."""
_LARGEST = 64  # steps or rows that are drawn if the model takes any number


@dataclasses.dataclass(frozen=True)
class PartsFile:
    """What a version records about parts of sequences.

    Attributes:
        record: What its manifest has. None for a model without sequences.
        data: The bytes of the file. None if there is none.
        defaults: Values that stand for initial states that are not zeros, by name.
    """

    record: manifest_pb2.Parts | None = None
    data: bytes | None = None
    defaults: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)

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
            labelled="",
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
