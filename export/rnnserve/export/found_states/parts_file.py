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
from rnnserve.export.found_states.reasons import UNSEEN, undecided_in_words
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.onnx_files import load_proto, save_proto
from rnnserve.export.parity.graph_findings import finding
from rnnserve.export.tensors import draw_inputs
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, MODEL, PARTS, SCAN
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import dump_defaults

__all__ = ["PartsFile", "find_parts"]


@dataclasses.dataclass(frozen=True)
class PartsFile:
    """What a version says of parts of sequences.

    Attributes:
        record: What its manifest has; None for a model without sequences.
        data: The bytes of the file; None where there is none.
        defaults: Values that stand for initial states that are not zeros, by name.
    """

    record: manifest_pb2.Parts | None = None
    data: bytes | None = None
    defaults: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)

    def files(self, defaults: Arrays) -> dict[str, bytes]:
        """Give the files of a version that parts of sequences need, and those that stand for inputs left out.

        Args:
            defaults: Values that stand for inputs of the interface.
        """
        every = {**defaults, **self.defaults}
        files = {} if self.data is None else {PARTS: self.data}
        return files | ({DEFAULTS: dump_defaults(every)} if every else {})


def find_parts(
    model: ModelDescription, served: str, files: Mapping[str, bytes], load: Callable[[bytes], Run]
) -> PartsFile:
    """Find what a graph carries from step to step, expose it, and try the result.

    Args:
        model: Description of the model.
        served: Name of the file of the graph that serves.
        files: The graphs of its version, by name.
        load: A function that makes a graph ready to run.
    """
    if not model.sequence_axes:
        return PartsFile()
    found, source = _find(model, served, files)
    parts = _parts(model, served, files, found, source, load)
    if parts.record is not None and parts.data is None and _goes_on(model):
        graph, run = load_proto(files[served]), load(files[served])
        parts.record.not_continued = not_continued(model, graph, run, found.decision)
    return parts


def _goes_on(model: ModelDescription) -> bool:
    return len(model.sequence_axes) == 1 and any(tensor.continues_as for tensor in model.outputs)


def _parts(
    model: ModelDescription,
    served: str,
    files: Mapping[str, bytes],
    found: FoundStates,
    source: str,
    load: Callable[[bytes], Run],
) -> PartsFile:
    """Expose the states that were found, and try the result; the arguments are those of `find_parts` and `_find`."""
    record = manifest_pb2.Parts(reason=found.reason, steps=finding(found.decision, tried=not found.reason))
    if found.reason:
        return PartsFile(record)
    try:
        return _tried(model, (served, files[served]), files[source], found, record, load)
    except RuntimeError as error:  # of onnxruntime, which the graph itself has passed
        record.reason = f"onnxruntime does not run its graph in parts: {' '.join(str(error).split())}"
    except ValueError as error:
        record.reason = str(error)
    return PartsFile(record)


def _find(model: ModelDescription, served: str, files: Mapping[str, bytes]) -> tuple[FoundStates, str]:
    """Find the states of a graph, and the file in which they were found.

    The loop to which an operator was lowered runs past the end of short rows: its state there is not known. So where
    there are lengths, states are found in the graph with the operator, which is lowered with them.
    """

    def found_in(file: str) -> FoundStates:
        graph = load_proto(files[file])
        return find_states(graph, model.inputs, model.outputs, finite_inputs=model.finite_inputs)

    found = found_in(served)
    if found.reason and served == SCAN:
        native = found_in(MODEL)
        lowered = None if native.model is None else lower_rnn(save_proto(native.model))
        if lowered is not None:
            return dataclasses.replace(native, model=load_proto(lowered)), MODEL
    return found, served


def _tried(
    model: ModelDescription,
    served: tuple[str, bytes],
    source: bytes,
    found: FoundStates,
    record: manifest_pb2.Parts,
    load: Callable[[bytes], Run],
) -> PartsFile:
    """Run sequences whole and in parts.

    Args:
        model: Description of the model.
        served: Name and bytes of the file of its graph.
        source: Bytes of the graph in which states were found.
        found: The states, and the graph that has them among its inputs and outputs.
        record: The record, to be completed.
        load: A function that makes a graph ready to run.

    Raises:
        RuntimeError: If onnxruntime refuses a graph, or inputs.
        ValueError: If a state does not begin with one value for every row.
    """
    file, data = served
    defaults = _defaults(model, load_proto(source), found, load)
    whole = load(data)
    cut: bytes | None = None if found.model is None else save_proto(found.model)
    initial, final = [state.initial for state in found.states], [state.final for state in found.states]
    trial = CutTrial(
        whole=whole,
        parts=whole if cut is None else load(cut),
        inputs=model.inputs,
        outputs=model.outputs,
        initial=initial,
        final=final,
        defaults=defaults,
        axis=model.sequence_axes[0],
        samples=model.samples,
    )
    differs = trial.reason()
    if differs or found.decision.readers:
        record.reason = undecided_in_words(found.decision) + (differs or UNSEEN)
        return PartsFile(record)
    if cut is not None:
        record.file, record.made_of = PARTS, file
        record.inputs.extend(initial)
        record.outputs.extend(final)
    return PartsFile(record, cut, defaults)


def _defaults(
    model: ModelDescription, graph: onnx.ModelProto, found: FoundStates, load: Callable[[bytes], Run]
) -> dict[str, npt.NDArray[Any]]:
    """Give what stands for states that do not begin with zeros; raises ValueError where rows begin differently."""
    defaults = {state.initial.name: state.default for state in found.states if state.default is not None}
    computed = {state.computed: state.initial for state in found.states if state.computed}
    if not computed:
        return defaults
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    results = load(save_proto(shown))(_drawn(model))
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


def _drawn(model: ModelDescription) -> Arrays:
    sizes = {axis: min(max(2 if axis == BATCH else 3, low), high) for axis, (low, high) in model.sizes.items()}
    return draw_inputs(model.inputs, np.random.default_rng(0), sizes)
