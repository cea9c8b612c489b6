"""What the manifest says of a version: its tensors with named axes, what was proven, and the exporting libraries."""

import importlib.metadata
import platform
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.golden_cases import GoldenCases
from rnnserve.export.parity.proof import Proof
from rnnserve.export.parity.tolerances import replay_limits
from rnnserve.export.recurrent_guard import describe_finiteness
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import FORMAT, FORMAT_OF_DEFAULTS, MODEL, SCAN, describe_file
from rnnserve.protos.serving_graph import choose_file

__all__ = ["KEEPS_BITS", "describe_version", "served_file"]

KEEPS_BITS = manifest_pb2.ServingGraph(file=MODEL, reason=f"answers keep bits on it that they do not keep on {SCAN}")
"""What serves where the server's own trial has found so."""


def describe_version(
    model: ModelDescription,
    proof: Proof,
    golden: GoldenCases,
    files: Mapping[str, bytes],
    origin: manifest_pb2.Origin.ValueType = manifest_pb2.ORIGIN_EXPORTED,
    scan_parity: manifest_pb2.Parity | None = None,
    parts: manifest_pb2.Parts | None = None,
) -> manifest_pb2.Manifest:
    """Describe a version: everything but its own digest, and nothing of the time, place or author of the export."""
    outputs = []
    for tensor in model.outputs:
        described = manifest_pb2.Tensor()
        described.CopyFrom(tensor)
        described.zeros_after_lengths = tensor.name in proof.zeros_after_lengths
        outputs.append(described)
    by_own_default = any(
        tensor.default == manifest_pb2.DEFAULT_RECORDED or tensor.left_out_with for tensor in model.inputs
    )
    return manifest_pb2.Manifest(
        format=FORMAT_OF_DEFAULTS if by_own_default else FORMAT,
        model=model.name,
        labels=model.labels,
        inputs=model.inputs,
        outputs=outputs,
        files=[describe_file(file, data) for file, data in sorted(files.items())],
        checkpoint_sha256=model.checkpoint_sha256,
        versions=_versions(),
        parity=proof.parity,
        replay_limits=replay_limits(step=golden.step, sequence=golden.sequence),
        batching=proof.batching,
        origin=origin,
        scan_parity=scan_parity,
        causality=proof.causality,
        graph=_serving_graph(files),
        parts=parts,
        finiteness=describe_finiteness(
            files[MODEL],
            finite_inputs=not model.allow_non_finite,
            infinite=model.infinite_inputs,
            is_guarded=origin == manifest_pb2.ORIGIN_EXPORTED,
        ),
    )


def served_file(files: Mapping[str, bytes]) -> str:
    """Give the graph of a version that serves on the CPU, by the name of its file."""
    graph = _serving_graph(files)
    return MODEL if graph is None else graph.file


def _serving_graph(files: Mapping[str, bytes]) -> manifest_pb2.ServingGraph | None:
    """Choose between the two graphs of a version; None where there is one."""
    if SCAN not in files:
        return None
    file, reason = choose_file(files[MODEL])
    return manifest_pb2.ServingGraph(file=file, reason=reason)


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
