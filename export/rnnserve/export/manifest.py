"""The manifest of a classifier: its tensors with named axes, its architecture, and the versions of the libraries."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch

from rnnserve.export.classifier_tensors import inputs_of, outputs_of
from rnnserve.export.limits import replay_limits
from rnnserve.models import Architecture, ArchitectureError
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import FORMAT, MANIFEST, ArtifactError, describe_file

__all__ = ["architecture_of", "describe"]


def describe(
    name: str,
    architecture: Architecture,
    labels: Sequence[str],
    *,
    files: Mapping[str, bytes],
    checkpoint_sha256: str,
    parity: manifest_pb2.Parity,
) -> manifest_pb2.Manifest:
    """Describe a version: everything but its own digest. When, where and by whom it was exported is not in it.

    Args:
        name: The model's.
        architecture: Of the classifier.
        labels: The name of class i is labels[i].
        files: The version's other files, by name.
        checkpoint_sha256: Of the checkpoint's weights, in hexadecimal.
        parity: The record of the proof.
    """
    return manifest_pb2.Manifest(
        format=FORMAT,
        model=name,
        architecture=manifest_pb2.Architecture(
            cell=architecture.cell,
            nonlinearity=architecture.nonlinearity if architecture.cell == "rnn" else "",
            num_layers=architecture.num_layers,
            bidirectional=architecture.bidirectional,
            features=architecture.features,
            hidden=architecture.hidden,
            classes=architecture.classes,
        ),
        labels=labels,
        inputs=inputs_of(architecture),
        outputs=outputs_of(architecture),
        files=[describe_file(file, data) for file, data in sorted(files.items())],
        checkpoint_sha256=checkpoint_sha256,
        versions=_versions(),
        parity=parity,
        replay_limits=replay_limits(),
    )


def architecture_of(manifest: manifest_pb2.Manifest) -> Architecture:
    """Read the architecture from a manifest.

    Raises:
        ArtifactError: If no classifier can have it.
    """
    described = manifest.architecture
    try:
        return Architecture(
            cell=described.cell,
            nonlinearity=described.nonlinearity or "tanh",
            num_layers=described.num_layers,
            bidirectional=described.bidirectional,
            features=described.features,
            hidden=described.hidden,
            classes=described.classes,
        )
    except ArchitectureError as error:
        raise ArtifactError(f"{MANIFEST}: describes no classifier: {error}") from error


def _versions() -> dict[str, str]:
    # onnxruntime is in several distributions (onnxruntime-gpu is another), so the version is the module's.
    return {
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnxscript": onnxscript.__version__,
        "python": platform.python_version(),
        "rnnserve": importlib.metadata.version("rnnserve"),
        "torch": str(torch.__version__),
    }
