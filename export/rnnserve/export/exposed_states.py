"""Found states as inputs and outputs of a version, where its publication asks for them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.errors import ExportError
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.golden_cases import GoldenCases
from rnnserve.export.module_interface import Arrays
from rnnserve.export.onnx_files import load_proto
from rnnserve.export.parity import OnnxRunner, OnnxTruth, Proof
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.graph_findings import walk_graph
from rnnserve.export.parity.reference import as_float64
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.recurrent_guard import guard_recurrences
from rnnserve.export.scan_file import with_scan
from rnnserve.export.tensor_shapes import axis_of, sizes_of, take_steps
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, SCAN
from rnnserve.protos.golden import Case, Inference
from rnnserve.protos.recorded_defaults import fill_left_out

__all__ = ["Exposed", "expose_states", "exposed_graph"]

_NO_SCRIPT = "its states were found in the graph (expose_states), and the module itself does not take them"

_CONTINUED = 2  # cases that go on from states, of each kind


@dataclasses.dataclass(frozen=True)
class Exposed:
    """A model as it is published.

    Attributes:
        model: Its description.
        files: What was made of it, by name of the file: graphs, perhaps a script.
        golden: Its golden cases.
        proof: What was found of it.
        unscripted: Why there is no script; empty where there is one.
    """

    model: ModelDescription
    files: Mapping[str, bytes]
    golden: GoldenCases
    proof: Proof
    unscripted: str = ""


def exposed_graph(
    model: ModelDescription,
    served: str,
    files: Mapping[str, bytes],
    load: Callable[[bytes], Inference],
    *,
    guarded: bool,
) -> tuple[ModelDescription, bytes]:
    """Give a graph of a version the states that are found in it as inputs and outputs; the same if there are none.

    Args:
        model: Description of the model.
        served: Name of the file of the graph.
        files: Graphs of its version, by name of the file.
        load: A function that makes a graph ready to run.
        guarded: Whether recurrent operators keep NaN, as those of exported graphs do.

    Raises:
        ExportError: If sequences may not be cut, so that there are no states by which they go on.
    """
    parts = find_parts(model, served, files, load)
    if parts.record is not None and parts.record.reason:
        raise ExportError(
            f"expose_states: there are none to expose, since a sequence may not be cut: {parts.record.reason}"
        )
    if parts.record is None or parts.data is None:
        return model, files[served]
    defaults = {**model.defaults, **parts.defaults}
    inputs = [*model.inputs, *parts.record.inputs]
    more = dataclasses.replace(
        model,
        inputs=inputs,
        outputs=[*model.outputs, *parts.record.outputs],
        defaults=defaults,
        samples=[fill_left_out(inputs, sample, defaults, sizes_of(inputs, sample)) for sample in model.samples],
    )
    if not guarded:
        return more, parts.data
    return more, guard_recurrences(parts.data, finite_inputs=not more.allow_non_finite, infinite=more.infinite_inputs)


def expose_states(made: Exposed) -> Exposed:
    """Expose the found states of a proven module's graphs, if there are such, and prove that sequences go on from them.

    The graphs are proven by what was proven before: from the beginning they give the bits of the graphs that were
    compared with eager, in parts the bits of the whole. Golden results of the states are the graph's own; those of
    what goes on from them are eager's of the whole sequence.

    Raises:
        ExportError: If sequences may not be cut, or what goes on from a state is not what eager gives.
    """
    model, data = exposed_graph(made.model, MODEL, made.files, OnnxRunner, guarded=True)
    if data == made.files[MODEL]:
        return made
    graphs = {MODEL: data}
    if SCAN in made.files:
        of_scan, scanned = exposed_graph(made.model, SCAN, made.files, OnnxRunner, guarded=True)
        if list(of_scan.inputs) == list(model.inputs) and list(of_scan.outputs) == list(model.outputs):
            graphs[SCAN] = scanned
    runners = {file: OnnxRunner(graph) for file, graph in graphs.items()}
    cases = list(_cases(made.golden.cases, made.model, model, runners[MODEL]))
    golden = dataclasses.replace(made.golden, cases=cases)
    for file, runner in runners.items():
        failures = golden.failures(model, runner)
        if failures:
            raise ExportError(
                f"{file} does not give the golden results from the states that were found in it, so nothing is "
                f"published: {'; '.join(failures)}"
            )
    return Exposed(model, graphs, golden, _proof(model, graphs, made.proof, runners), _NO_SCRIPT)


def _proof(
    model: ModelDescription, graphs: Mapping[str, bytes], proof: Proof, runners: Mapping[str, OnnxRunner]
) -> Proof:
    """Find again, with states that any request may send, which requests may share a run."""
    walks = {
        file: walk_graph(load_proto(graph), model.inputs, model.outputs, finite_inputs=model.finite_inputs)
        for file, graph in graphs.items()
    }
    batching = find_batching(model, OnnxTruth(runners[MODEL]), limits_for("cpu"), 0, walks[MODEL])
    if SCAN in walks:
        scanned = find_batching(model, OnnxTruth(runners[SCAN]), limits_for("cpu"), 0, walks[SCAN])
        batching = with_scan(batching, scanned)
    names = ", ".join(f'"{tensor.continues_as}"' for tensor in model.outputs if tensor.continues_as)
    parity = manifest_pb2.Parity()
    parity.CopyFrom(proof.parity)
    parity.checks.append(f"onnx: states {names}, found ones exposed: parts of sequences have the bits of the whole")
    return dataclasses.replace(proof, parity=parity, batching=batching, causality=walks[MODEL].recorded_causality())


def _cases(cases: Sequence[Case], model: ModelDescription, exposed: ModelDescription, run: Inference) -> Iterator[Case]:
    """Give the cases of a module the states with which sequences begin, and add some that go on from others."""
    continued: dict[str, int] = {}
    for case in cases:
        sizes = sizes_of(model.inputs, case.inputs)
        filled = fill_left_out(exposed.inputs, case.inputs, exposed.defaults, sizes)
        asked = {tensor.name for tensor in model.inputs} - case.inputs.keys()
        inputs = {name: array for name, array in filled.items() if name not in asked}
        yield _with_states(dataclasses.replace(case, inputs=inputs), exposed, run(filled))
        if asked or continued.get(case.kind, 0) == _CONTINUED:
            continue
        further = _further(case, model, exposed, filled, run)
        if further is not None:
            continued[case.kind] = continued.get(case.kind, 0) + 1
            yield further


def _further(
    case: Case, model: ModelDescription, exposed: ModelDescription, filled: Arrays, run: Inference
) -> Case | None:
    """Give the second half of a case's sequences, from the states after the first; None where they cannot be halved."""
    (axis,) = model.sequence_axes
    steps = sizes_of(model.inputs, case.inputs)[axis]
    lengths = model.lengths.get(axis)
    smallest = model.sizes[axis][0]
    if steps // 2 < smallest or (lengths is not None and (filled[lengths] < steps).any()):
        return None
    halves = range(steps // 2), range(steps // 2, steps)
    first, second = ({**filled, **take_steps(exposed.inputs, filled, axis, half)} for half in halves)
    reached = run(first)
    second |= {tensor.continues_as: reached[tensor.name] for tensor in exposed.outputs if tensor.continues_as}
    places = {tensor.name: axis_of(tensor, axis) for tensor in model.outputs}
    results = [
        {name: array if (at := places[name]) is None else np.take(array, halves[1], at) for name, array in of.items()}
        for of in (case.eager, case.float64)
    ]
    return _with_states(Case(case.kind, second, results[0], results[1]), exposed, run(second))


def _with_states(case: Case, exposed: ModelDescription, results: Mapping[str, npt.NDArray[Any]]) -> Case:
    finals = {tensor.name: results[tensor.name] for tensor in exposed.outputs if tensor.name not in case.eager}
    return dataclasses.replace(case, eager={**case.eager, **finals}, float64={**case.float64, **as_float64(finals)})
