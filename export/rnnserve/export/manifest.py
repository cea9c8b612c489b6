"""What the manifest says of a classifier: its tensors with named axes, its architecture, and who exported it."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch

from rnnserve.export.limits import replay_limits
from rnnserve.models import Architecture, ArchitectureError
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import FORMAT, MANIFEST, ArtifactError, describe_file

__all__ = ["architecture_of", "describe", "inputs_of", "outputs_of"]

_FREE = -1


def describe(
    name: str,
    architecture: Architecture,
    labels: Sequence[str],
    *,
    files: Mapping[str, bytes],
    checkpoint_sha256: str,
    parity: manifest_pb2.Parity,
) -> manifest_pb2.Manifest:
    """Describe a version: everything but its own digest, and nothing of when, where or by whom it was exported."""
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


def inputs_of(architecture: Architecture) -> list[manifest_pb2.Tensor]:
    """Describe `input`, `lengths`, `h_0` and, for lstm, `c_0`: the arguments of forward, in its order."""
    tensors = [
        _tensor("input", ("batch", _FREE), ("sequence", _FREE), ("features", architecture.features)),
        manifest_pb2.Tensor(
            name="lengths",
            datatype="INT64",
            axes=[manifest_pb2.Axis(name="batch", size=_FREE)],
            default=manifest_pb2.DEFAULT_FULL_LENGTH,
        ),
    ]
    for state in _states(architecture, "0"):
        state.default = manifest_pb2.DEFAULT_ZEROS
        tensors.append(state)
    return tensors


def outputs_of(architecture: Architecture) -> list[manifest_pb2.Tensor]:
    """Describe `logits`, `output`, `h_n` and, for lstm, `c_n`: the results of forward, in its order."""
    width = architecture.directions * architecture.hidden
    tensors = [
        _tensor("logits", ("batch", _FREE), ("classes", architecture.classes)),
        _tensor("output", ("batch", _FREE), ("sequence", _FREE), ("directions * hidden", width)),
    ]
    for state in _states(architecture, "n"):
        state.continues_as = state.name.replace("_n", "_0")
        tensors.append(state)
    return tensors


def architecture_of(manifest: manifest_pb2.Manifest) -> Architecture:
    """Read the architecture back.

    Raises:
        ArtifactError: If there is no such architecture.
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


def _states(architecture: Architecture, suffix: str) -> list[manifest_pb2.Tensor]:
    letters = "hc" if architecture.cell == "lstm" else "h"
    axes = (("layers * directions", architecture.states), ("batch", _FREE), ("hidden", architecture.hidden))
    return [_tensor(f"{letter}_{suffix}", *axes) for letter in letters]


def _tensor(name: str, *axes: tuple[str, int]) -> manifest_pb2.Tensor:
    named = [manifest_pb2.Axis(name=axis, size=size) for axis, size in axes]
    return manifest_pb2.Tensor(name=name, datatype="FP32", axes=named)


def _versions() -> dict[str, str]:
    # onnxruntime comes as several distributions, so that modules are asked, not the installer.
    return {
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnxscript": onnxscript.__version__,
        "python": platform.python_version(),
        "rnnserve": importlib.metadata.version("rnnserve"),
        "torch": str(torch.__version__),
    }
