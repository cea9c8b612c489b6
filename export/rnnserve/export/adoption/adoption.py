"""From an ONNX file of any origin to a published version that says that it is adopted."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from rnnserve.export.adoption.alone import explain_alone
from rnnserve.export.adoption.expected_results import expected_cases
from rnnserve.export.adoption.file_tensors import (
    check_kind,
    check_names,
    choose_outputs,
    constant_inputs,
    describe_inputs,
    name_output_axes,
    write_axis_names,
)
from rnnserve.export.adoption.free_axes import FAR, FARTHER, FreeAxes, free_axes, longer_sizes, seem_fixed
from rnnserve.export.adoption.preparation import Prepared, prepare
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.adoption.sample_file import Sample
from rnnserve.export.adoption.size_advice import advise_sizes
from rnnserve.export.adoption.state_pairs import describe_states
from rnnserve.export.description.described_outputs import check_sizes, describe_outputs
from rnnserve.export.description.described_tensors import (
    ModelDescription,
    check_inputs,
    check_model_name,
    check_states,
    complete_sample,
    name_classes,
)
from rnnserve.export.errors import ExportError, UnsupportedModule, WrongArguments
from rnnserve.export.exposed_states import exposed_graph
from rnnserve.export.found_states.parts_file import PartsFile, find_parts
from rnnserve.export.golden_cases import GoldenCases, make_cases
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.manifest import describe_version
from rnnserve.export.module_interface import Arrays
from rnnserve.export.onnx_files import model_inputs, read_onnx
from rnnserve.export.parity import RUN_SECONDS, OnnxProcess, OnnxRunner, Proof
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.graph_findings import walk_graph
from rnnserve.export.parity.onnx_truth import OnnxTruth
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.pipeline import ExportResult
from rnnserve.export.sealing import Seal
from rnnserve.export.server_trial import publish_tried
from rnnserve.export.tensor_shapes import mask_before_lengths
from rnnserve.export.triton_config_writing import render_config
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, dump_manifest
from rnnserve.protos.golden import dump_cases
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.triton_config import MissingConfigError, check_tensors, read_config

__all__ = ["adopt"]

_NOT_COMPARED = "adopted: not compared with its framework"
_RAGGED_BATCHES = 4


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
    model = read_onnx(path, external_data=False)
    choose_outputs(model, roles.outputs)
    free = free_axes(model)
    constants = constant_inputs(model)
    check_names(model, roles)
    for value in model_inputs(model):
        check_kind(value)
    with OnnxProcess(timeout) as process:
        prepared = _prepared(path, model, roles, process)
        model, roles = prepared.model, prepared.roles
        inputs = describe_inputs(model, roles)
        truth = _truth(path, model.SerializeToString(), process)
        try:
            description = _describe(truth, inputs, free, name, roles)
            write_axis_names(model, description.inputs, description.outputs)
            data, load = model.SerializeToString(deterministic=True), partial(OnnxRunner, process=process)
            if roles.expose_states:
                description, data = exposed_graph(description, MODEL, {MODEL: data}, load, guarded=False)
            truth = _truth(path, data, process)
            parts = find_parts(description, MODEL, {MODEL: data}, load)
            return _publish(description, truth, data, repository, samples, constants, parts, prepared, seal)
        except RuntimeError as error:  # what `OnnxRunner` raises
            raise ExportError(
                f"{path}: {error}; if the model does not take all sizes, say which: --size AXIS=LOW:HIGH"
            ) from error


def _prepared(path: Path, model: onnx.ModelProto, roles: Roles, process: OnnxProcess) -> Prepared:
    try:
        return prepare(model, roles, process)
    except RuntimeError as error:
        raise ExportError(f"{path}: {error}") from error


def _truth(path: Path, data: bytes, process: OnnxProcess) -> OnnxTruth:
    try:
        return OnnxTruth(OnnxRunner(data, process=process))
    except RuntimeError as error:
        raise ExportError(f"{path}: {error}") from error


def _describe(
    truth: OnnxTruth, inputs: list[manifest_pb2.Tensor], free: FreeAxes, name: str, roles: Roles
) -> ModelDescription:
    sizes = check_inputs(inputs, roles.sizes)

    def compute(arrays: Arrays) -> Arrays:
        try:
            return truth.eager(arrays)
        except RuntimeError as error:
            shapes = ", ".join(f'"{name}" {list(array.shape)}' for name, array in arrays.items())
            raise WrongArguments(
                f"it does not run with {shapes}; are sizes frozen in the graph, are two axes always of one size (give "
                f"them one name), or are values out of bounds? {error}"
            ) from error

    def described(sizes: Mapping[str, tuple[int, int]]) -> list[manifest_pb2.Tensor]:
        far = FAR
        outputs = describe_outputs(compute, inputs, list(free), longer_sizes(sizes, roles, far))
        if seem_fixed(outputs, free):
            far = FARTHER
            outputs = describe_outputs(compute, inputs, list(free), longer_sizes(sizes, roles, far))
        check_sizes(compute, inputs, outputs, sizes, far)
        return outputs

    try:
        outputs = described(sizes)
    except UnsupportedModule as error:
        raise advise_sizes(error, described, sizes, roles) from error
    name_output_axes(outputs, roles)
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
    constants: str,
    parts: PartsFile,
    prepared: Prepared,
    seal: Seal,
) -> ExportResult:
    with contextlib.suppress(MissingConfigError):  # publishing writes it
        check_tensors(read_config(repository / model.name), model.inputs, model.outputs)
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
    notes = [*([constants] if constants else []), *prepared.notes]
    found = _found(model, truth, data, known, notes)
    explain_alone(found.batching, one_row=prepared.one_row, is_quantised=prepared.is_quantised)
    manifest = describe_version(model, found, golden, files, origin=manifest_pb2.ORIGIN_ADOPTED, parts=parts.record)
    files[MANIFEST] = dump_manifest(manifest)
    config = render_config(model.name, model.inputs, model.outputs)
    published, untried = publish_tried(repository / model.name, files, config, is_adopted=True, seal=seal)
    return ExportResult(model.name, published, manifest, untried=untried)


def _found(
    model: ModelDescription, truth: OnnxTruth, data: bytes, known: Sequence[tuple[Arrays, Arrays]], notes: Sequence[str]
) -> Proof:
    """Say what onnxruntime told of the file, and that this is no comparison with its framework."""
    checks = [_NOT_COMPARED, *notes]
    if known:
        names = sorted({name for _, outputs in known for name in outputs})
        checks.append(f"onnx: the outputs given with {len(known)} samples: {', '.join(names)}")
    checks.append("onnx: batching, by the graph and the results of onnxruntime itself")
    graph = walk_graph(
        onnx.load_model_from_string(data), model.inputs, model.outputs, finite_inputs=model.finite_inputs
    )
    batching = find_batching(model, truth, limits_for("cpu"), 0, graph)
    return Proof(manifest_pb2.Parity(checks=checks), batching, _zeros(model, truth), graph.recorded_causality())


def _zeros(model: ModelDescription, truth: OnnxTruth) -> set[str]:
    """Name the outputs that are zeros after each row's length."""
    lengths = model.lengths
    zeros = {tensor.name for tensor in model.outputs if any(axis.name in lengths for axis in tensor.axes)}
    random = np.random.default_rng(0)
    for _ in range(_RAGGED_BATCHES):
        inputs = draw_inputs(model.inputs, random, _small_sizes(model.sizes), ragged=True)
        for tensor, array in ((tensor, truth.eager(inputs)[tensor.name]) for tensor in model.outputs):
            mask = mask_before_lengths(tensor, array.shape, inputs, lengths)
            if mask is not None and np.where(mask, 0, array).any():
                zeros.discard(tensor.name)
    return zeros


def _small_sizes(bounds: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    return {axis: min(max(5 if axis == BATCH else 8, low), high) for axis, (low, high) in bounds.items()}
