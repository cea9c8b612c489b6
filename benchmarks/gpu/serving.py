"""The step about the server: it serves every model on the device, and its answers are the golden results."""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.gpu.proving import replay_limits_of
from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, one_line, rows_or_failure
from benchmarks.gpu.subjects import REPOSITORY, SUBJECTS, Subject, published_version
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.artifact import GOLDEN
from rnnserve.protos.datatypes import DTYPES, datatype_of
from rnnserve.protos.golden import load_cases, replay
from rnnserve.server import Settings
from rnnserve.server.testing import serve

__all__ = ["serve_models"]

_READY_SECONDS = 60.0
_TIMEOUT_S = 60.0


def serve_models(work: Path, device: str) -> Iterator[Row]:
    """Start a server on the device; ask each model for its golden results over gRPC, and what it says of itself."""
    settings = Settings(work / REPOSITORY, provider=device, graph="native")
    with (
        serve(work / REPOSITORY, settings) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = rpc.GRPCInferenceServiceStub(channel)
        for subject in SUBJECTS:
            yield from rows_or_failure("serving", subject.name, partial(_ask, stub, work, device, subject))


def _ask(stub: rpc.GRPCInferenceServiceStub, work: Path, device: str, subject: Subject) -> Iterable[Row]:
    version = published_version(work, subject)
    if not _is_ready(stub, subject.name):
        reasons = [m.reason for m in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models if m.name == subject.name]
        yield Row("serving", subject.name, f"serves on {device}", FAILED, note=one_line("; ".join(reasons)))
        return
    said = stub.ModelMetadata(pb.ModelMetadataRequest(name=subject.name), timeout=_TIMEOUT_S).properties
    verdict = HELD if said["provider"] == device else FAILED
    yield Row("serving", subject.name, f"serves on {device}", verdict, note=f"says provider {said['provider']}")
    cases = load_cases(version.files[GOLDEN])
    failures = replay(cases, partial(_infer, stub, subject.name), replay_limits_of(version.manifest, device))
    note = one_line("; ".join(failures)) if failures else f"{len(cases)} requests"
    yield Row("serving", subject.name, "answers with the golden results", FAILED if failures else HELD, note=note)
    yield Row("serving", subject.name, "batch_invariant", MEASURED, note=said["batch_invariant"])


def _is_ready(stub: rpc.GRPCInferenceServiceStub, name: str) -> bool:
    """Wait for a model that is loaded in the background."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=_TIMEOUT_S).ready:
            return True
        time.sleep(0.2)
    return False


def _infer(
    stub: rpc.GRPCInferenceServiceStub, name: str, inputs: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Ask for every output of a request with these inputs."""
    request = pb.ModelInferRequest(model_name=name)
    for tensor, array in inputs.items():
        request.inputs.add(name=tensor, datatype=datatype_of(array.dtype), shape=array.shape)
        request.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
    answer = stub.ModelInfer(request, timeout=_TIMEOUT_S)
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {output.name: np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape) for output, raw in pairs}
