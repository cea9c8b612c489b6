"""Verifying: proving a published version again, from the files in the repository alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import torch
from google.protobuf.message import DecodeError

from rnnserve.export.classifier_tensors import inputs_of, outputs_of
from rnnserve.export.errors import ExportError, ParityError
from rnnserve.export.manifest import architecture_of
from rnnserve.export.parity import OnnxRunner, prove
from rnnserve.export.parity.onnx_runner import Arrays
from rnnserve.export.parity.reference import run_module
from rnnserve.export.torch_threads import one_thread
from rnnserve.export.torchscript import load_script
from rnnserve.models import DirectionClassifier
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCRIPT, ArtifactError, Version, read_version
from rnnserve.protos.golden import Inference, load_cases, replay
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import CONFIG, check_tensors, read_config

__all__ = ["Check", "verify_version", "versions_of"]

_DATATYPES: dict[int, str] = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT64: "INT64"}

_Form = tuple[str, str, list[Any]]


@dataclass(frozen=True)
class Check:
    """One thing that was verified.

    Attributes:
        name: What was verified.
        failures: What is wrong with it, a sentence each; empty if nothing is.
        parity: The record of the proof, in the check that is the proof, if it holds.
    """

    name: str
    failures: Sequence[str] = ()
    parity: manifest_pb2.Parity | None = None


def versions_of(repository: Path, models: Sequence[str] = ()) -> list[Path]:
    """List the folders of versions, oldest first, of the models named or, if none is, of all models.

    Raises:
        ExportError: If there is no such repository, model or version.
    """
    if not repository.is_dir():
        raise ExportError(f"there is no repository {repository}; `rnnserve export` makes one")
    known = sorted(path.name for path in repository.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not known:
        raise ExportError(f"there is no model in {repository}; `rnnserve export` publishes some")
    folders = []
    for model in models or known:
        if model not in known:
            raise ExportError(f"there is no model {model!r} in {repository}; there are {', '.join(known)}")
        paths = [path for path in (repository / model).iterdir() if path.is_dir()]
        numbers = [number for path in paths if (number := version_number(path.name)) is not None]
        if not numbers:
            raise ExportError(f"the model {model} in {repository} has no versions, folders named 1, 2, …")
        folders += [repository / model / str(number) for number in sorted(numbers)]
    return folders


def verify_version(folder: Path, *, progress: bool = True) -> list[Check]:
    """Prove a version again, with every check that its files allow.

    Args:
        folder: `<repository>/<model>/<version>`.
        progress: Whether to show a progress bar on standard error.
    """
    try:
        version = read_version(folder)
        files = [Check(f"{name}: as published") for name in (*sorted(version.files), MANIFEST)]
    except ArtifactError as error:
        return [Check("files: as published", [str(error)])]  # no other check can be trusted
    try:
        graph, runner = _graph(version)
        classifier, script = _modules(version)
    except ArtifactError as error:
        return [*files, Check("files: loaded", [str(error)])]
    names = [tensor.name for tensor in version.manifest.outputs]

    def run_script(inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        return dict(zip(names, run_module(script, inputs, torch.float32), strict=True))

    with one_thread():
        return [
            *files,
            _check(f"{CONFIG}: of these tensors", lambda: _config(folder.parent, version.manifest)),
            _check(f"{MANIFEST}: of this model", lambda: _manifest(folder, version.manifest, graph)),
            _check(f"{GOLDEN}: {MODEL} gives its results", lambda: _golden(version, runner)),
            _check(f"{GOLDEN}: {SCRIPT} gives its results", lambda: _golden(version, run_script)),
            _parity(classifier, script, version.files[MODEL], progress=progress),
        ]


def _check(name: str, failures: Callable[[], Iterable[str]]) -> Check:
    try:
        return Check(name, list(failures()))
    except ArtifactError as error:
        return Check(name, [str(error)])


def _graph(version: Version) -> tuple[onnx.GraphProto, OnnxRunner]:
    try:
        return onnx.load_model_from_string(version.files[MODEL]).graph, OnnxRunner(version.files[MODEL])
    except (DecodeError, RuntimeError) as error:
        raise ArtifactError(f"{MODEL}: {error}") from error


def _modules(version: Version) -> tuple[DirectionClassifier, torch.jit.ScriptModule]:
    """Load the script, and make the classifier that it was made from, with its weights."""
    try:
        script = load_script(version.files[SCRIPT])
    except RuntimeError as error:
        raise ArtifactError(f"{SCRIPT}: torch cannot load it: {error}") from error
    with torch.random.fork_rng(devices=[]):  # the random weights are replaced below
        classifier = DirectionClassifier.of(architecture_of(version.manifest))
    try:
        classifier.load_state_dict(script.state_dict())
    except RuntimeError as error:
        raise ArtifactError(f"{SCRIPT}: does not have the weights of {MANIFEST}'s architecture: {error}") from error
    return classifier.eval(), script


def _config(model: Path, manifest: manifest_pb2.Manifest) -> list[str]:
    check_tensors(read_config(model), manifest.inputs, manifest.outputs)
    return []


def _manifest(folder: Path, manifest: manifest_pb2.Manifest, graph: onnx.GraphProto) -> Iterator[str]:
    if manifest.model != folder.parent.name:
        yield f'{MANIFEST}: is of the model "{manifest.model}", but is in the folder of "{folder.parent.name}"'
    architecture = architecture_of(manifest)
    if len(manifest.labels) != architecture.classes:
        yield f"{MANIFEST}: has {len(manifest.labels)} labels, expected {architecture.classes}, one for each class"
    for kind, described, expected, values in (
        ("inputs", manifest.inputs, inputs_of(architecture), graph.input),
        ("outputs", manifest.outputs, outputs_of(architecture), graph.output),
    ):
        if list(described) != expected:
            yield f"{MANIFEST}: its {kind} are {_forms(described)}, expected {_forms(expected)} for {architecture}"
        found = [_form(value) for value in values]
        if found != _forms(described):
            yield f"{MANIFEST}: its {kind} are {_forms(described)}, but those of {MODEL} are {found}"


def _forms(tensors: Sequence[manifest_pb2.Tensor]) -> list[_Form]:
    return [(t.name, t.datatype, [axis.name if axis.size < 0 else axis.size for axis in t.axes]) for t in tensors]


def _form(value: onnx.ValueInfoProto) -> _Form:
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type, f"ONNX type {tensor.elem_type}")
    return value.name, datatype, [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]


def _golden(version: Version, compute: Inference) -> list[str]:
    manifest = version.manifest
    limits = next((limits for limits in manifest.replay_limits if limits.device == "cpu"), None)
    if limits is None:
        return [f'{MANIFEST}: has no limits for golden results on the device "cpu"']
    cases = load_cases(version.files[GOLDEN])
    names = [tensor.name for tensor in manifest.inputs]
    for case in cases:
        if list(case.inputs) != names:
            return [f"{GOLDEN}: {case} has the inputs {list(case.inputs)}, expected {names}"]
    try:
        return replay(cases, compute, limits)
    except (RuntimeError, torch.jit.Error) as error:  # `OnnxRunner` raises the former
        return [f"{GOLDEN}: its inputs do not fit: {error}"]


def _parity(classifier: DirectionClassifier, script: torch.jit.ScriptModule, model: bytes, *, progress: bool) -> Check:
    name = f"parity: eager, {SCRIPT} and {MODEL} compute the same"
    try:
        return Check(name, parity=prove(classifier, script, model, progress=progress))
    except ParityError as error:
        return Check(name, error.failures)
