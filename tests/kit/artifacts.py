"""Artifacts of small ONNX models that tests write as text, with golden results of onnxruntime's own."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from kit.graph_text import parsed_nodes
from rnnserve.export.publishing import render_config
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import FORMAT, GOLDEN, MANIFEST, MODEL, describe_file, dump_manifest
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.golden import Case, dump_cases

Arrays = Mapping[str, np.ndarray]

LIMITS = manifest_pb2.ReplayLimits(
    device="cpu",
    step_state=1e-6,
    step_logits=1e-6,
    walk_logits=1e-6,
    sequence_rms_factor=2,
    sequence_rms_floor=1e-6,
    sequence_largest=1e-5,
)


def tensor(name: str, datatype: str, *axes: str | tuple[str, int], **more: Any) -> manifest_pb2.Tensor:
    """Describe a tensor as manifests do.

    Args:
        name: Its name.
        datatype: The protocol's name, such as "INT64".
        axes: A name for an axis whose size a request chooses, else name and size.
        more: Further fields of the manifest's message.
    """
    sized = [(axis, -1) if isinstance(axis, str) else axis for axis in axes]
    described = [manifest_pb2.Axis(name=axis, size=size) for axis, size in sized]
    return manifest_pb2.Tensor(name=name, datatype=datatype, axes=described, **more)


def build_model(
    nodes: str,
    inputs: Iterable[manifest_pb2.Tensor],
    outputs: Iterable[manifest_pb2.Tensor],
    constants: Arrays,
    *,
    opset: int = 17,
) -> bytes:
    """Build a model of nodes in ONNX's text syntax, whose tensors are as described, and of constants by name."""
    graph = helper.make_graph(
        parsed_nodes(nodes),
        "graph",
        [_value_info(described) for described in inputs],
        [_value_info(described) for described in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def publish_model(
    repository: Path,
    name: str,
    model: bytes,
    inputs: Sequence[manifest_pb2.Tensor],
    outputs: Sequence[manifest_pb2.Tensor],
    samples: Iterable[Arrays],
    *,
    batching: manifest_pb2.BatchingMode.ValueType = manifest_pb2.BATCHING_JOINED,
    origin: manifest_pb2.Origin.ValueType = manifest_pb2.ORIGIN_EXPORTED,
    cases: Sequence[Case] | None = None,
    version: int = 1,
) -> Path:
    """Write a version as export does, without any proof.

    Args:
        repository: The folder of all models.
        name: The model's.
        model: Its ONNX file.
        inputs: All of its inputs, in the graph's order.
        outputs: All of its outputs, in the graph's order.
        samples: All inputs by name, for one golden case each; the results are onnxruntime's.
        batching: Which requests may share a run.
        origin: Where the model is from.
        cases: Golden cases in place of those that `samples` give.
        version: The version's number.

    Returns:
        The version's folder.
    """
    if cases is None:
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        cases = [_case(session, sample) for sample in samples]
    files = {MODEL: model, GOLDEN: dump_cases(cases)}
    manifest = manifest_pb2.Manifest(
        format=FORMAT,
        model=name,
        inputs=inputs,
        outputs=outputs,
        files=[describe_file(file, data) for file, data in sorted(files.items())],
        replay_limits=[LIMITS],
        batching=manifest_pb2.Batching(mode=batching),
        origin=origin,
    )
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    for file, data in {**files, MANIFEST: dump_manifest(manifest)}.items():
        (folder / file).write_bytes(data)
    (folder.parent / "config.pbtxt").write_text(render_config(name, inputs, outputs))
    return folder


def _case(session: ort.InferenceSession, sample: Arrays) -> Case:
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, dict(sample)), strict=True))
    exact = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in results.items()}
    return Case("step", dict(sample), results, exact)


def _value_info(described: manifest_pb2.Tensor) -> onnx.ValueInfoProto:
    shape = [axis.name if axis.size < 0 else axis.size for axis in described.axes]
    return helper.make_tensor_value_info(
        described.name, helper.np_dtype_to_tensor_dtype(DTYPES[described.datatype]), shape
    )
