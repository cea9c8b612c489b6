"""The requests of the benchmark: the same sequences for every server and load generator."""

import base64
import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rnnserve.protos import inference_pb2 as pb

__all__ = [
    "BenchmarkRequest",
    "add_grpc_frame",
    "encode_request",
    "encode_step",
    "group_into_batches",
    "perf_analyzer_input",
    "perf_analyzer_steps",
    "read_requests",
]


@dataclasses.dataclass(frozen=True)
class BenchmarkRequest:
    """A request and its expected answer.

    Attributes:
        input: Points, (batch, sequence, features) float32 with batch 1.
        logits: The logits of eager PyTorch, (batch, classes) float32.
    """

    input: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


def read_requests(answers: Path, model: str, lengths: tuple[int, int]) -> list[BenchmarkRequest]:
    """Read one request for each length.

    Args:
        answers: The file `answers.npz` of `benchmarks.make_models`.
        model: Name of the model.
        lengths: Shortest and longest sequence, in points; both are included.
    """
    shortest, longest = lengths
    with np.load(answers) as arrays:
        return [
            BenchmarkRequest(arrays[f"{model}/{length}/input"], arrays[f"{model}/{length}/logits"])
            for length in range(shortest, longest + 1)
        ]


def encode_request(model: str, request: BenchmarkRequest) -> bytes:
    """Encode a ModelInferRequest that asks for the logits."""
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[request.input.astype("<f4").tobytes()])
    message.inputs.add(name="input", datatype="FP32", shape=request.input.shape)
    message.outputs.add(name="logits")
    return message.SerializeToString()


def encode_step(model: str, point: npt.NDArray[np.float32], identity: int, *, starts: bool, ends: bool) -> bytes:
    """Encode a ModelInferRequest of a sequence that asks for the logits after one more point, (1, 1, features)."""
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[point.astype("<f4").tobytes()])
    message.parameters["sequence_id"].int64_param = identity
    message.parameters["sequence_start"].bool_param = starts
    message.parameters["sequence_end"].bool_param = ends
    message.inputs.add(name="input", datatype="FP32", shape=point.shape)
    message.outputs.add(name="logits")
    return message.SerializeToString()


def add_grpc_frame(message: bytes) -> bytes:
    """Put gRPC's prefix of five bytes before a message: the flag "not compressed", and the message's length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def perf_analyzer_input(requests: Sequence[BenchmarkRequest], *, with_batch: bool) -> str:
    """Return perf_analyzer's JSON input, one entry for each request, shuffled so that neighbours differ in length.

    Args:
        requests: The requests.
        with_batch: Whether shapes begin with the batch axis, as a model with max_batch_size 0 requires.
    """
    entries = []
    for request in _shuffle(requests):
        points = request.input.astype("<f4")  # (batch 1, sequence, features)
        shape = list(points.shape if with_batch else points.shape[1:])
        content = {"b64": base64.b64encode(points.tobytes()).decode()}
        entries.append({"input": {"content": content, "shape": shape}})
    return json.dumps({"data": entries})


def group_into_batches(requests: Sequence[BenchmarkRequest], size: int) -> list[list[BenchmarkRequest]]:
    """Group requests, in the order in which the load generators send them, into batches of the same size.

    Each request is in as many batches as any other, and the batches are as few as that allows.
    """
    shuffled = _shuffle(requests)
    count = math.lcm(len(shuffled), size) // size
    order = itertools.cycle(shuffled)
    return [list(itertools.islice(order, size)) for _ in range(count)]


def _shuffle(requests: Sequence[BenchmarkRequest]) -> list[BenchmarkRequest]:
    return [requests[index] for index in np.random.default_rng(13).permutation(len(requests))]


def perf_analyzer_steps(request: BenchmarkRequest, steps: int, *, with_batch: bool) -> str:
    """Return perf_analyzer's JSON input of one sequence: so many requests of one point each.

    Args:
        request: The request whose points are sent, again and again.
        steps: Number of requests.
        with_batch: Whether requests have a batch axis, as for `perf_analyzer_input`.
    """
    points = request.input.astype("<f4")[0]  # (sequence, features)
    shape = [1, 1, points.shape[1]][0 if with_batch else 1 :]
    entries = [
        {"input": {"content": {"b64": base64.b64encode(points[at % len(points)].tobytes()).decode()}, "shape": shape}}
        for at in range(steps)
    ]
    return json.dumps({"data": [entries]})
