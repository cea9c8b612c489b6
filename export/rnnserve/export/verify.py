"""Verify a published version again, using only its files in the repository."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.description.described_outputs import check_sizes
from rnnserve.export.description.forward_trials import Trial
from rnnserve.export.description.omitted_inputs import wrong_defaults
from rnnserve.export.errors import ParityError, UnsupportedModule, WrongArguments
from rnnserve.export.flat_module import flat_script
from rnnserve.export.found_states.parts_file import parts_failures
from rnnserve.export.golden_cases import filling
from rnnserve.export.onnx_files import load_proto
from rnnserve.export.parity import OnnxRunner, verify_parity
from rnnserve.export.parity.batching_safety import contradictions, walk_graph
from rnnserve.export.parity.verification import check_onnx, reference_of
from rnnserve.export.surroundings import left_as_they_were, one_thread
from rnnserve.export.tensors import Arrays, is_state, sequence_axes, size_limits
from rnnserve.export.torchscript import load_script
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import (
    FORMAT_OF_DEFAULTS,
    GOLDEN,
    MANIFEST,
    MODEL,
    SCAN,
    SCRIPT,
    ArtifactError,
    Version,
    read_version,
)
from rnnserve.protos.golden import Inference, load_cases, replay
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import load_defaults
from rnnserve.protos.triton_config import CONFIG, check_tensors, read_config

__all__ = ["Check", "verify_version"]


@dataclass(frozen=True)
class Check:
    """The result of one check of a version."""

    name: str
    failures: Sequence[str] = ()  # the problems found, one sentence each
    parity: manifest_pb2.Parity | None = None  # the parity record, in the parity check only, if it passes


def verify_version(folder: Path, *, progress: bool = True) -> list[Check]:
    """Verify the version in `<repository>/<model>/<version>` again, with every check that its files allow."""
    try:
        version = read_version(folder)
        files = [Check(f"{name}: as published") for name in (*sorted(version.files), MANIFEST)]
    except ArtifactError as error:
        return [Check("files: as published", [str(error)])]  # other checks would mean nothing
    try:
        graphs = {name: _graph(version, name) for name in (MODEL, SCAN) if name in version.files}
        model = _described(version) if SCRIPT in version.files else None
    except ArtifactError as error:
        return [*files, Check("files: loaded", [str(error)])]
    manifest = version.manifest

    checks = [
        *files,
        _check(f"{CONFIG}: has the tensors of the graph", _config, folder, manifest),
        _check(f"{MANIFEST}: describes this model", _manifest, folder, manifest, graphs),
    ]
    for name, (graph, _) in graphs.items():
        said = f"{name}: its graph has the properties that {MANIFEST} records as proven"
        checks.append(_check(said, _walk, version, name, graph))
    with left_as_they_were(), one_thread():
        checks.append(_check(f"{MANIFEST}: sizes of outputs", _sizes, manifest, graphs[MODEL][1]))
        for name, (_, runner) in graphs.items():
            checks.append(_check(f"{GOLDEN}: {name} reproduces the results", _golden, version, runner))
        checks.append(_check(f"{MANIFEST}: record about parts of sequences", parts_failures, version))
        if model is None:
            why = f"there is no {SCRIPT} to compare {MODEL} with"
            if manifest.origin == manifest_pb2.ORIGIN_ADOPTED:
                why = f"{MODEL} was imported, and not compared with its framework"
            return [*checks, Check(f"parity and batching: not repeated, because {why}")]

        checks.append(_check(f"{GOLDEN}: {SCRIPT} reproduces the results", _golden, version, model.module.run))
        wrong = wrong_defaults(model.module, model.inputs, model.sizes, model.defaults)
        checks.append(Check(f"{MANIFEST}: defaults of omitted inputs", [f"{MANIFEST}: {said}" for said in wrong]))
        return [*checks, *_proofs(model, version, progress=progress)]


def _check(name: str, failures: Callable[..., Iterable[str]], *args: object) -> Check:
    try:
        return Check(name, list(failures(*args)))
    except ArtifactError as error:
        return Check(name, [str(error)])


def _config(folder: Path, manifest: manifest_pb2.Manifest) -> Iterable[str]:
    check_tensors(read_config(folder.parent), manifest.inputs, manifest.outputs)
    return ()


def _graph(version: Version, name: str) -> tuple[onnx.ModelProto, OnnxRunner]:
    try:
        return load_proto(version.files[name]), OnnxRunner(version.files[name])
    except (DecodeError, RuntimeError) as error:
        raise ArtifactError(f"{name}: {error}") from error


def _described(version: Version) -> DescribedModel:
    """Describe the model from its manifest. The script replaces the original module."""
    manifest = version.manifest
    try:
        script = load_script(version.files[SCRIPT])
    except RuntimeError as error:
        raise ArtifactError(f"{SCRIPT}: torch cannot load it: {error}") from error
    names = [[tensor.name for tensor in tensors] for tensors in (manifest.inputs, manifest.outputs)]
    try:
        module = flat_script(script, *names)
    except WrongArguments as error:
        raise ArtifactError(f"{SCRIPT}: {error}") from error
    return DescribedModel(
        name=manifest.model,
        module=module,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        labels=manifest.labels,
        samples=(),
        sizes=_tried_sizes(manifest)[0],
        checkpoint_sha256=manifest.checkpoint_sha256,
        allow_non_finite=manifest.finiteness.allowed,
        defaults=load_defaults(version.files, manifest.inputs),
    )


def _manifest(
    folder: Path, manifest: manifest_pb2.Manifest, graphs: Mapping[str, tuple[onnx.ModelProto, OnnxRunner]]
) -> Iterator[str]:
    if manifest.model != folder.parent.name:
        yield f'{MANIFEST}: belongs to the model "{manifest.model}", but is in the folder of "{folder.parent.name}"'
    for name, (model, _) in graphs.items():
        for difference in check_onnx(model, manifest.inputs, manifest.outputs):
            yield f"{MANIFEST}: does not describe {name}: {difference}"
    if manifest.graph.file and manifest.graph.file not in graphs:
        yield f'{MANIFEST}: names "{manifest.graph.file}" as the serving graph; expected one of {", ".join(graphs)}'
    states = [tensor.name for tensor in manifest.inputs if is_state(tensor) and not tensor.lengths_of]
    continued = [tensor.continues_as for tensor in manifest.outputs if tensor.continues_as]
    if sorted(states) != sorted(continued):
        yield f"{MANIFEST}: the initial states are {states}, but outputs continue as {continued}"
    classes = [tensor.axes[-1].size for tensor in manifest.outputs if tensor.axes[-1].name == "classes"]
    if manifest.labels and len(manifest.labels) not in classes:
        yield f"{MANIFEST}: has {len(manifest.labels)} labels, expected one for each class, as in {classes}"


def _sizes(manifest: manifest_pb2.Manifest, runner: OnnxRunner) -> Iterator[str]:
    """Report output sizes that were only fitted when the version was published, or that differ in inference calls."""
    outputs = [manifest_pb2.Tensor.FromString(tensor.SerializeToString()) for tensor in manifest.outputs]
    for tensor in outputs:
        for axis in tensor.derived_axes:
            if axis.means == manifest_pb2.MEANS_UNSPECIFIED:
                yield (
                    f'{MANIFEST}: the size of the axis "{axis.name}" of "{tensor.name}" was fitted to at most 128 '
                    "steps, and may be wrong for more. Publish the model again"
                )

    def compute(arrays: Arrays) -> Arrays:
        try:
            return runner(arrays)
        except RuntimeError as error:
            raise WrongArguments(str(error)) from error  # the graph doesn't accept this size

    try:
        sizes, longest = _tried_sizes(manifest)
        check_sizes(Trial(compute, manifest.inputs, sizes), outputs, longest)
    except UnsupportedModule as error:
        yield f"{MANIFEST}: {str(error).partition('. ')[0]}. Publish the model again"


def _tried_sizes(manifest: manifest_pb2.Manifest) -> tuple[dict[str, tuple[int, int]], int]:
    """Return the verified range of sizes of each dynamic axis, and the largest verified number of steps."""
    batches, lengths = manifest.parity.batch_sizes or [1, 2], manifest.parity.lengths or [1]
    limits = size_limits(manifest.inputs)
    sizes = {
        axis: (limits[axis][0], limits[axis][1] or max(*lengths, limits[axis][0]))
        for axis in sequence_axes(manifest.inputs)
    }
    fitted = [axis.tried_to for tensor in manifest.outputs for axis in tensor.derived_axes]
    return {BATCH: (min(batches), max(batches)), **sizes}, max([*lengths, *fitted])


def _walk(version: Version, name: str, model: onnx.ModelProto) -> list[str]:
    """Repeat the static analysis of a graph, and report differences from the manifest."""
    manifest = version.manifest
    found = walk_graph(model, manifest.inputs, manifest.outputs)
    return contradictions(manifest, found, scan=name == SCAN)


def _golden(version: Version, compute: Inference) -> list[str]:
    manifest = version.manifest
    limits = next((limits for limits in manifest.replay_limits if limits.device == "cpu"), None)
    if limits is None:
        return [f'{MANIFEST}: has no limits for golden results on the device "cpu"']
    cases = load_cases(version.files[GOLDEN])
    # Cases omit optional inputs only if the manifest's format has recorded defaults.
    all_given = manifest.format != FORMAT_OF_DEFAULTS
    required = {t.name for t in manifest.inputs if all_given or t.default == manifest_pb2.DEFAULT_REQUIRED}
    for case in cases:
        expected = [t.name for t in manifest.inputs if t.name in case.inputs or t.name in required]
        if expected != list(case.inputs):
            return [f"{GOLDEN}: {case} has the inputs {list(case.inputs)}, expected {expected}"]
    defaults = load_defaults(version.files, manifest.inputs)
    try:
        return replay(cases, filling(manifest.inputs, defaults, compute), limits)
    except (RuntimeError, torch.jit.Error) as error:  # `OnnxRunner` raises RuntimeError
        return [f"{GOLDEN}: its inputs do not fit the model: {error}"]


def _proofs(model: DescribedModel, version: Version, *, progress: bool) -> Iterator[Check]:
    """Compare the script with each graph, and the recorded batching with the batching found for the first graph."""
    with evaluating(model.module):
        reference = reference_of(model)
    for file in (MODEL, SCAN):
        if file not in version.files:
            continue
        name = f"parity: {SCRIPT} and {file} compute the same results"
        try:
            verification = verify_parity(model, None, version.files[file], progress=progress, reference=reference)
        except ParityError as error:
            yield Check(name, error.failures)
            continue
        yield Check(name, parity=verification.parity)
        if file == MODEL:
            said, found = (
                manifest_pb2.BatchingMode.Name(b.mode) for b in (version.manifest.batching, verification.batching)
            )
            failures = (
                [] if found == said else [f"{MANIFEST}: records {said}, found {found}: {verification.batching.reasons}"]
            )
            yield Check(f"batching: {MANIFEST} records what is safe", failures)
