"""From an ONNX file of any origin to a published version that says that it is adopted.

First constants are put in, the batch is found, and axes are named; then the file is described by running it.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

from rnnserve.export.adoption.batch_trial import BatchTrial, Found
from rnnserve.export.adoption.file_inputs import (
    FROZEN,
    ONE_ROW,
    FileInput,
    Question,
    Roles,
    ask,
    check_lengths,
    check_names,
    describe_inputs,
    put_constants,
    read_inputs,
)
from rnnserve.export.adoption.file_outputs import choose_outputs, describe_file_outputs, describe_states
from rnnserve.export.adoption.samples import Sample, expected_cases
from rnnserve.export.description.described_tensors import (
    ModelDescription,
    check_inputs,
    check_model_name,
    check_states,
    complete_sample,
    name_classes,
)
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.found_states.parts_file import PartsFile, find_parts
from rnnserve.export.golden_cases import GoldenCases, make_cases
from rnnserve.export.onnx_files import load_proto, read_onnx, save_model
from rnnserve.export.parity import RUN_SECONDS, OnnxProcess, OnnxRunner, OnnxTruth, Proof
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.graph_findings import walk_graph
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.pipeline import ExportResult, describe_version
from rnnserve.export.publishing import Seal, check_config, publish_tried, render_config
from rnnserve.export.tensors import Arrays, draw_inputs, mask_before_lengths, sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, dump_manifest
from rnnserve.protos.golden import dump_cases
from rnnserve.protos.protocol_words import BATCH

__all__ = ["adopt"]

_NOT_COMPARED = "adopted: not compared with its framework"
_OLDEST = 9
"""The oldest operator set that is taken: onnxruntime tests none before 7, and Scan has its present form since 9."""

_RAGGED_BATCHES = 4
_FOR_MODULES = ": does the module"  # from here on, a reason speaks to who can change the module
_REFUSED = 200  # characters of onnxruntime's reason
_SHOWN = 5  # names, of what may be all weights
_WEIGHTS_APART = 4  # the IR version since which initializers need not be inputs


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What was found of a file whose batch is dynamic now.

    Attributes:
        inputs: Its inputs, described.
        sizes: The smallest and the largest size of axes, as the user says or as was found.
        notes: What was done and found, in sentences for the record.
        is_quantised: Whether it scales numbers to int8 by the largest that it meets.
    """

    inputs: list[manifest_pb2.Tensor]
    sizes: Mapping[str, tuple[int, int]]
    notes: Sequence[str]
    is_quantised: bool


def _prepare(model: ir.Model, roles: Roles, process: OnnxProcess) -> _Prepared:
    """Put constants in, find the batch, and name axes; changes the model.

    Raises:
        WrongArguments: If the file and the user do not say enough, and then the message asks for all that is missing;
            or if rows cannot be run together.
        RuntimeError: If onnxruntime does not take the file.
    """
    notes = [*_drop_inputs_with_values(model)]
    check_names(model, roles)
    notes += _put_constants(model, roles)
    inputs, questions = read_inputs(model, roles)
    alone = OnnxRunner(save_model(model), process=process)
    together = OnnxRunner(save_model(_with_open_batch(model, inputs)), process=process)
    is_quantised = any(node.op_type.startswith("DynamicQuantize") for node in model.graph.all_nodes())
    trial = BatchTrial(inputs, alone, together, roles, is_quantised=is_quantised)
    found = trial.find()
    if found is None and trial.one_row:
        ask(questions)
        raise WrongArguments(f"the file computes one row at a time; {ONE_ROW} ({trial.one_row})")
    if found is None:
        ask([*questions, *_any_sizes(inputs, roles, trial.refused)])
        refused = trial.refused[:_REFUSED]
        raise WrongArguments(f"onnxruntime does not run it with one row of these sizes; {FROZEN} {refused}")
    limits, missing = _limits(trial, found, roles)
    ask([*questions, *missing])
    check_lengths(found.inputs, roles)
    _check_fixed(inputs, found, roles)
    is_opened = any(each.tensor.axes[found.batches[each.tensor.name]].size == 1 for each in inputs)
    _write_axes(model.graph.inputs, found.inputs)
    if is_opened:
        _forget_shapes(model)
        rows = "rows have the results of the file itself"
        rows += ", but for what int8 moves: less than a tenth of what rows differ by" if is_quantised else ""
        notes.append(f"onnx: its batch was fixed at 1 and is dynamic now: {rows}")
    tried = [each.tensor.name for each in inputs if not each.is_settled]
    if tried:
        places = ", ".join(f'axis {found.batches[name]} of "{name}"' for name in tried)
        notes.append(f"onnx: the batch, found by trial: {places}")
    for axis, (low, high) in limits.items():
        notes.append(f'onnx: onnxruntime runs it with {low} to {high} of "{axis}", by trial; --size says other sizes')
    return _Prepared(list(found.inputs), {**limits, **roles.sizes}, notes, is_quantised)


def _write_axes(values: Sequence[ir.Value], tensors: Sequence[manifest_pb2.Tensor]) -> None:
    """Write described axes into inputs or outputs of a file."""
    for value, tensor in zip(values, tensors, strict=True):
        value.shape = ir.Shape([axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes])


def _drop_inputs_with_values(model: ir.Model) -> Iterator[str]:
    """Remove inputs that have values in the file: weights of an old file, and what a caller might set."""
    names = [value.name for value in model.graph.inputs if value.is_initializer()]
    is_old = model.ir_version < _WEIGHTS_APART
    old = f"; IR version {model.ir_version} lists the weights there, too" if is_old else ""
    if names:
        model.graph.inputs[:] = [value for value in model.graph.inputs if not value.is_initializer()]
        model.ir_version = max(model.ir_version, _WEIGHTS_APART)
        shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"onnx: inputs that have values in the file keep these, and no request sets them: {shown}{more}{old}"


def _put_constants(model: ir.Model, roles: Roles) -> Iterator[str]:
    if roles.constants:
        put_constants(model, roles.constants)
        shown = ", ".join(f'"{name}" is {text}' for name, text in roles.constants.items())
        yield f"onnx: inputs with one value for all requests, as you said: {shown}"


def _with_open_batch(model: ir.Model, inputs: Sequence[FileInput]) -> ir.Model:
    """Give the file with every axis dynamic that may be the batch, and without what it says of shapes inside."""
    opened = model.clone()
    for value, each in zip(opened.graph.inputs, inputs, strict=True):
        shape = value.shape or ()
        value.shape = ir.Shape([None if at in each.candidates else dim for at, dim in enumerate(shape)])
    _forget_shapes(opened)
    return opened


def _forget_shapes(model: ir.Model) -> None:
    for node in model.graph:
        for output in node.outputs:
            output.shape = None


def _any_sizes(inputs: Sequence[FileInput], roles: Roles, refused: str) -> Iterator[Question]:
    """Ask for the sizes of a file that runs with none of those that were tried."""
    first = {each.tensor.name: each.candidates[0] for each in inputs}
    for name in sequence_axes(describe_inputs(inputs, first, roles.fixed)):
        if name not in roles.sizes:
            yield Question(
                f'onnxruntime runs it with none of the sizes of "{name}" that were tried; say which it takes',
                f"--size {name}=SIZE",
                f" ({refused[:_REFUSED]})",
            )


def _limits(trial: BatchTrial, found: Found, roles: Roles) -> tuple[dict[str, tuple[int, int]], list[Question]]:
    """Find which sizes of each axis the file takes, if the user does not say it."""
    limits, questions = {}, []
    for axis, size in found.sizes.items():
        if axis in roles.sizes:
            continue
        taken = trial.range_of(found, axis)
        if taken is None:
            why = f'onnxruntime runs it with {size} of "{axis}", but not with other sizes about that'
            questions.append(Question(f"{why}; say which it takes", f"--size {axis}={size}"))
        elif taken[1]:
            limits[axis] = taken
    return limits, questions


def _check_fixed(inputs: Sequence[FileInput], found: Found, roles: Roles) -> None:
    """Refuse a size of an axis that is not dynamic in the file."""
    free = [BATCH, *sequence_axes(describe_inputs(inputs, found.batches, {}))]
    for name in roles.fixed:
        if name not in free[1:]:
            raise WrongArguments(f'--size names the axis "{name}"; the dynamic axes are {", ".join(free)}')


def adopt(
    path: Path,
    name: str,
    repository: Path,
    roles: Roles | None = None,
    samples: Sequence[Sample] = (),
    timeout: float = RUN_SECONDS,
    seal: Seal = lambda *_: None,
) -> ExportResult:
    """Publish an ONNX file as a model's next version, marked as adopted.

    Args:
        path: The file, with its weights in it.
        name: Name of the model.
        repository: Folder where models are published, as `<repository>/<model>/<version>`.
        roles: Roles of its tensors that the file does not tell.
        samples: Real inputs; where they have outputs, the file has to give these, and servers replay them.
        timeout: Seconds that onnxruntime may take to load the file, and for each run of it.
        seal: Function that may sign the version before it is published, as of `publish`.

    Raises:
        WrongArguments: If the file and the roles do not say enough, or do not fit; the message says what to do.
        UnsupportedModule: If such a model cannot be served.
        ExportError: If it does not give the expected outputs, or not always the same results.
        ArtifactError: If the repository's config.pbtxt of the model has other tensors.
        OSError: If a file cannot be read or written.
    """
    check_model_name(name)
    roles = roles or Roles()
    model = ir.from_proto(read_onnx(path, external_data=False))
    _check_operator_set(path, model)
    choose_outputs(model, roles.outputs)
    with OnnxProcess(timeout) as process:
        with _naming(path):
            prepared = _prepare(model, roles, process)
        with _naming(path, "; if the model does not take all sizes, say which: --size AXIS=LOW:HIGH"):
            description = _describe(OnnxRunner(save_model(model), process=process), prepared, name, roles)
            _write_axes(model.graph.outputs, description.outputs)
            load = partial(OnnxRunner, process=process)
            data = save_model(model)
            parts = find_parts(description, MODEL, {MODEL: data}, load)
            return _publish(description, OnnxTruth(load(data)), data, repository, samples, parts, prepared, seal)


def _check_operator_set(path: Path, model: ir.Model) -> None:
    number = max(model.opset_imports.get(domain, 0) for domain in ("", "ai.onnx"))
    if 0 < number < _OLDEST:
        raise WrongArguments(
            f"{path} has operators of set {number}; expected {_OLDEST} or later. Export it again, or convert it and "
            f"compare the results: onnx.version_converter.convert_version(onnx.load(path), {_OLDEST})"
        )


@contextlib.contextmanager
def _naming(path: Path, advice: str = "") -> Iterator[None]:
    """Name the file in what `OnnxRunner` raises."""
    try:
        yield
    except RuntimeError as error:
        raise ExportError(f"{path}: {error}{advice}") from error


def _describe(run: OnnxRunner, prepared: _Prepared, name: str, roles: Roles) -> ModelDescription:
    inputs = prepared.inputs
    sizes = check_inputs(inputs, prepared.sizes)

    def compute(arrays: Arrays) -> Arrays:
        try:
            return run(arrays)
        except RuntimeError as error:
            shapes = ", ".join(f'"{name}" {list(array.shape)}' for name, array in arrays.items())
            raise WrongArguments(f"it does not run with {shapes}; {FROZEN} {error}") from error

    outputs = describe_file_outputs(compute, run.outputs, inputs, sizes, prepared.sizes, roles)
    check_states(describe_states(inputs, outputs, roles), inputs, outputs)
    return ModelDescription(
        name=name,
        inputs=inputs,
        outputs=outputs,
        labels=list(roles.labels),
        labelled=name_classes(roles.labels, outputs),
        samples=(),
        sizes=sizes,
        checkpoint_sha256="",
    )


def _publish(
    model: ModelDescription,
    truth: OnnxTruth,
    data: bytes,
    repository: Path,
    samples: Sequence[Sample],
    parts: PartsFile,
    prepared: _Prepared,
    seal: Seal,
) -> ExportResult:
    check_config(repository / model.name, model.inputs, model.outputs)
    complete = [complete_sample(number, sample.inputs, model.inputs) for number, sample in enumerate(samples)]
    unknown = [inputs for inputs, sample in zip(complete, samples, strict=True) if not sample.outputs]
    known = [(inputs, sample.outputs) for inputs, sample in zip(complete, samples, strict=True) if sample.outputs]
    model = dataclasses.replace(model, samples=unknown)
    expected = expected_cases(model, truth, known)
    drawn = make_cases(model, truth, truth.runner)
    golden = GoldenCases([*drawn.cases, *expected.cases], drawn.step, max(drawn.sequence, expected.sequence))
    failures = golden.failures(model, truth.runner)
    if failures:
        raise ExportError(
            f"{MODEL} does not give its own results again, so nothing is published: {'; '.join(failures)}"
        )
    files = {MODEL: data, GOLDEN: dump_cases(golden.cases), **parts.files({})}
    found = _found(model, truth, data, known, prepared)
    manifest = describe_version(model, found, golden, files, origin=manifest_pb2.ORIGIN_ADOPTED, parts=parts.record)
    files[MANIFEST] = dump_manifest(manifest)
    config = render_config(model.name, model.inputs, model.outputs)
    published, untried = publish_tried(repository / model.name, files, config, is_adopted=True, seal=seal)
    return ExportResult(model.name, published, manifest, untried=untried)


def _found(
    model: ModelDescription, truth: OnnxTruth, data: bytes, known: Sequence[tuple[Arrays, Arrays]], prepared: _Prepared
) -> Proof:
    """Say what onnxruntime told of the file, and that this is no comparison with its framework."""
    checks = [_NOT_COMPARED, *prepared.notes]
    if known:
        names = sorted({name for _, outputs in known for name in outputs})
        checks.append(f"onnx: the outputs given with {len(known)} samples: {', '.join(names)}")
    checks.append("onnx: batching, by the graph and the results of onnxruntime itself")
    graph = walk_graph(load_proto(data), model.inputs, model.outputs, finite_inputs=model.finite_inputs)
    batching = find_batching(model, truth, limits_for("cpu"), 0, graph)
    if prepared.is_quantised and batching.rows.means != manifest_pb2.MEANS_PROVEN:
        _serve_alone(batching)
    return Proof(manifest_pb2.Parity(checks=checks), batching, _zeros(model, truth), graph.recorded_causality())


def _serve_alone(batching: manifest_pb2.Batching) -> None:
    """Let requests of a quantised file run alone: if its results are choices, few values show that rows move others."""
    is_seen = batching.mode == manifest_pb2.BATCHING_ALONE
    seen = [reason.partition(_FOR_MODULES)[0] for reason in batching.reasons] if is_seen else []
    batching.mode = manifest_pb2.BATCHING_ALONE
    batching.ClearField("padding")
    del batching.reasons[:]
    why = "it scales numbers to int8 by the largest of a run, so the rows of a run move each other"
    batching.reasons.extend([why, *seen])


def _zeros(model: ModelDescription, truth: OnnxTruth) -> set[str]:
    """Name the outputs that are zeros after each row's length."""
    lengths = model.lengths
    zeros = {tensor.name for tensor in model.outputs if any(axis.name in lengths for axis in tensor.axes)}
    random = np.random.default_rng(0)
    small = {axis: min(max(5 if axis == BATCH else 8, low), high) for axis, (low, high) in model.sizes.items()}
    for _ in range(_RAGGED_BATCHES):
        inputs = draw_inputs(model.inputs, random, small, ragged=True)
        for tensor, array in ((tensor, truth.eager(inputs)[tensor.name]) for tensor in model.outputs):
            mask = mask_before_lengths(tensor, array.shape, inputs, lengths)
            if mask is not None and np.where(mask, 0, array).any():
                zeros.discard(tensor.name)
    return zeros
