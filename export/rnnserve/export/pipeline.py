"""From a checkpoint to a published version: export, script, prove, and only then write."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from rnnserve.export.classifier_tensors import initial_states_of, inputs_of, outputs_of, shape_of
from rnnserve.export.errors import ExportError
from rnnserve.export.golden_cases import make_cases
from rnnserve.export.limits import replay_limits
from rnnserve.export.manifest import describe
from rnnserve.export.parity import OnnxRunner, prove
from rnnserve.export.publish import Published, publish
from rnnserve.export.recurrence import export_onnx
from rnnserve.export.torch_threads import one_thread
from rnnserve.export.torchscript import script, script_bytes
from rnnserve.export.triton_config import render_config
from rnnserve.models import Checkpoint, DirectionClassifier, load_checkpoint
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCRIPT, dump_manifest
from rnnserve.protos.golden import dump_cases, replay
from rnnserve.protos.names import is_model_name
from rnnserve.protos.triton_config import MissingConfigError, check_tensors, read_config

__all__ = ["ExportResult", "export_checkpoint", "to_onnx"]

_STAGES = ("load", "ONNX", "TorchScript", "proof", "golden results", "publish")


@dataclass(frozen=True)
class ExportResult:
    """What an export has published.

    Attributes:
        name: The model.
        published: Where the version is, and whether it is new.
        manifest: The version's manifest, with the parity record.
    """

    name: str
    published: Published
    manifest: manifest_pb2.Manifest


def export_checkpoint(checkpoint: Path | Checkpoint, repository: Path, *, progress: bool = True) -> ExportResult:
    """Export a checkpoint into a repository: the same checkpoint gives the same bytes on every machine, at any time.

    Args:
        checkpoint: What was trained, or its folder.
        repository: Where models are published, as `<repository>/<model>/<version>`.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ExportError: If the classifier cannot be exported, or the export does not compute the same; nothing is
            published.
        ArtifactError: If the model's config.pbtxt in the repository has other tensors.
        CheckpointError: If there is no such checkpoint.
        OSError: If the repository cannot be written.
    """
    with one_thread(), tqdm(total=len(_STAGES), unit="stage", leave=False, disable=not progress) as bar:
        stages = iter(_STAGES)

        def advance(done: int = 1) -> None:
            bar.update(done)
            bar.set_description(next(stages))

        advance(0)
        if isinstance(checkpoint, Path):
            checkpoint = load_checkpoint(checkpoint)
        name, classifier = checkpoint.name, checkpoint.classifier.eval()
        if not is_model_name(name):
            raise ExportError(
                f"the checkpoint is named {name!r}, which cannot be a model's folder: use letters, digits and _.-"
            )
        architecture = classifier.architecture
        inputs, outputs = inputs_of(architecture), outputs_of(architecture)
        if repository.exists() and not repository.is_dir():
            raise ExportError(f"the repository {repository} is a file, expected a folder")
        with contextlib.suppress(MissingConfigError):  # publishing writes it
            check_tensors(read_config(repository / name), inputs, outputs)
        advance()
        model = to_onnx(classifier)
        advance()
        scripted = script(classifier)
        advance()
        parity = prove(classifier, scripted, model, progress=progress)
        advance()
        golden = _golden(classifier, model)
        advance()
        files = {MODEL: model, SCRIPT: script_bytes(scripted), GOLDEN: golden}
        manifest = describe(
            name,
            architecture,
            checkpoint.labels,
            files=files,
            checkpoint_sha256=checkpoint.sha256,
            parity=parity,
        )
        # The manifest is written last: a folder without it is not a version, if a file system loses the rename.
        files[MANIFEST] = dump_manifest(manifest)
        published = publish(repository / name, files, render_config(name, inputs, outputs))
        bar.update()
    return ExportResult(name, published, manifest)


def to_onnx(classifier: DirectionClassifier) -> bytes:
    """Export a classifier with every input of its forward, and its batch and sequence axes named.

    Raises:
        ExportError: If it cannot be exported.
    """
    architecture = classifier.architecture
    inputs, outputs = inputs_of(architecture), outputs_of(architecture)
    batch, sequence = 3, 5
    states = [torch.zeros(shape_of(state, {"batch": batch})) for state in initial_states_of(architecture)]
    points = torch.linspace(-1, 1, batch * sequence * architecture.features)
    program = export_onnx(
        classifier,
        (points.reshape(batch, sequence, architecture.features), torch.tensor([5, 3, 4]), *states),
        input_names=[tensor.name for tensor in inputs],
        output_names=[tensor.name for tensor in outputs],
        dynamic_shapes=tuple(
            {number: axis.name for number, axis in enumerate(tensor.axes) if axis.size < 0} for tensor in inputs
        ),
    )
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def _golden(classifier: DirectionClassifier, model: bytes) -> bytes:
    """Make the golden cases, and compare the model with them as servers do."""
    runner = OnnxRunner(model)
    cases = make_cases(classifier, runner)
    limits = next(limits for limits in replay_limits() if limits.device == "cpu")
    failures = replay(cases, runner, limits)
    if failures:
        raise ExportError(f"{MODEL} does not give the golden results, so nothing is published: {'; '.join(failures)}")
    return dump_cases(cases)
