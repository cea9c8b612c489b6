"""The requests of the benchmark, the same for every server and load generator, and the check of the responses."""

import base64
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.errors import WrongAnswer
from rnnserve.protos import inference_pb2 as pb

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"

LOGIT_LIMIT = 1e-4
"""Largest absolute difference from eager's logits: random weights do not amplify rounding errors, and the difference of
a mistake is about a hundred times as large."""

_REPETITIONS = 4
_TIMEOUT_S = 30.0


@dataclasses.dataclass(frozen=True)
class BenchmarkRequest:
    """A request and its expected response.

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
    message = pb.ModelInferRequest.FromString(encode_request(model, BenchmarkRequest(point, np.empty(0, np.float32))))
    message.parameters["sequence_id"].int64_param = identity
    message.parameters["sequence_start"].bool_param = starts
    message.parameters["sequence_end"].bool_param = ends
    return message.SerializeToString()


def add_grpc_frame(message: bytes) -> bytes:
    """Put gRPC's prefix of five bytes before a message: the flag "not compressed", and the message's length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def perf_analyzer_input(requests: Sequence[BenchmarkRequest], steps: int, *, with_batch: bool) -> str:
    """Return perf_analyzer's JSON input.

    Args:
        requests: The requests. The function shuffles them so that neighbors differ in length.
        steps: If not 0, send one sequence of this many one-point requests instead: the first request's points, in turn.
        with_batch: Whether shapes begin with the batch axis, as a model with max_batch_size 0 requires.
    """

    def entry(points: npt.NDArray[np.float32]) -> dict[str, Any]:  # (batch 1, sequence, features)
        content = {"b64": base64.b64encode(points.astype("<f4").tobytes()).decode()}
        return {"input": {"content": content, "shape": list(points.shape if with_batch else points.shape[1:])}}

    if steps:
        points = requests[0].input
        at = [number % points.shape[1] for number in range(steps)]
        return json.dumps({"data": [[entry(points[:, number : number + 1]) for number in at]]})
    return json.dumps({"data": [entry(request.input) for request in _shuffle(requests)]})


def group_into_batches(requests: Sequence[BenchmarkRequest], size: int) -> list[list[BenchmarkRequest]]:
    """Group requests, in the order in which the load generators send them, into batches of the same size.

    Each request is in as many batches as any other, and the number of batches is the smallest possible.
    """
    shuffled = _shuffle(requests)
    count = math.lcm(len(shuffled), size) // size
    order = itertools.cycle(shuffled)
    return [list(itertools.islice(order, size)) for _ in range(count)]


def _shuffle(requests: Sequence[BenchmarkRequest]) -> list[BenchmarkRequest]:
    return [requests[index] for index in np.random.default_rng(13).permutation(len(requests))]


def check_answers(
    server: str,
    port: int,
    model: str,
    requests: Sequence[BenchmarkRequest],
    *,
    in_steps: bool = False,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Send all requests several times at once, so that they share batches, and compare with eager PyTorch.

    Args:
        server: Name of the server, for messages.
        port: Port of the server on 127.0.0.1.
        model: Name of the model.
        requests: The requests with eager's logits.
        in_steps: Whether to send each request as a sequence of one-point requests on a stream and compare the last
            response.
        headers: Metadata of each call, unless `in_steps`.

    Returns:
        The size of a response in bytes, for the comparison with the load generators' responses.

    Raises:
        WrongAnswer: If a label or a logit differs from eager's, or a request fails.
    """
    response_bytes = 0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        send = _steps_sender(channel, model) if in_steps else _sender(channel, model, headers or {})
        repeated = [request for _ in range(1 if in_steps else _REPETITIONS) for request in requests]
        calls = [(request, send(number, request)) for number, request in enumerate(repeated, 1)]
        for request, receive in calls:
            try:
                payload = receive()
            except grpc.RpcError as error:
                raise WrongAnswer(f"a request to {server} failed: {error.code().name}: {error.details()}") from error
            response_bytes = len(payload)
            if in_steps:
                streamed = pb.ModelStreamInferResponse.FromString(payload)
                if streamed.error_message:
                    raise WrongAnswer(f"a request to {server} failed: {streamed.error_message}")
                response = streamed.infer_response
            else:
                response = pb.ModelInferResponse.FromString(payload)
            check_logits(server, read_logits(server, response), request)
    return response_bytes


def read_logits(server: str, response: pb.ModelInferResponse) -> npt.NDArray[np.float32]:
    """Return the only output of a response. Raises WrongAnswer if that isn't `logits`."""
    names = [output.name for output in response.outputs]
    if names != ["logits"]:
        raise WrongAnswer(f"{server}: the outputs are {names}, expected ['logits']")
    return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(tuple(response.outputs[0].shape))


def check_logits(server: str, logits: npt.NDArray[np.float32], request: BenchmarkRequest) -> None:
    """Compare logits with those of a request. Raises WrongAnswer if they differ by more than `LOGIT_LIMIT`."""
    where = f"{server}, input {request.input.shape}"
    if logits.shape != request.logits.shape:
        raise WrongAnswer(
            f"{where}: logits have shape {logits.shape}; expected (batch, classes) = {request.logits.shape}"
        )
    # Written with `not`, so that NaN is refused as well.
    if not float(np.abs(logits - request.logits).max()) <= LOGIT_LIMIT:
        raise WrongAnswer(f"{where}: logits are {logits.tolist()}, expected eager PyTorch's {request.logits.tolist()}")


_Send = Callable[[int, BenchmarkRequest], Callable[[], bytes]]
"""Sends a request with its number, and returns a function that waits for the response."""


def _sender(channel: grpc.Channel, model: str, headers: Mapping[str, str]) -> _Send:
    infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
    metadata = tuple(headers.items())

    def send(_: int, request: BenchmarkRequest) -> Callable[[], bytes]:
        return infer.future(encode_request(model, request), timeout=_TIMEOUT_S, metadata=metadata).result

    return send


def _steps_sender(channel: grpc.Channel, model: str) -> _Send:
    infer: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_STREAM_METHOD)

    def send(number: int, request: BenchmarkRequest) -> Callable[[], bytes]:
        points = [request.input[:, at : at + 1] for at in range(request.input.shape[1])]
        last = len(points) - 1
        messages = [
            encode_step(model, point, number, starts=at == 0, ends=at == last) for at, point in enumerate(points)
        ]
        answers = infer(iter(messages), timeout=_TIMEOUT_S)
        return lambda: list(answers)[-1]

    return send
