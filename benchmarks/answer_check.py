"""Check of a server's answers against eager PyTorch's, before the server is measured."""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from benchmarks.errors import WrongAnswer
from benchmarks.requests import BenchmarkRequest, encode_request, encode_step
from rnnserve.protos import inference_pb2 as pb

__all__ = ["INFER_METHOD", "LOGIT_LIMIT", "check_answers"]

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"

LOGIT_LIMIT = 1e-4
"""Largest absolute difference to eager's logits: random weights do not amplify rounding errors, and a mistake differs
by about a hundred times as much."""

_REPETITIONS = 4
_TIMEOUT_S = 30.0


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
        in_steps: Whether to send each as a sequence of requests of one point, and compare the last answer.
        headers: Metadata of each call, where they are not in steps; None for none.

    Returns:
        The size of a response in bytes, with which the load generators' responses are compared.

    Raises:
        WrongAnswer: If a label or a logit differs from eager's, or a request fails.
    """
    response_bytes = 0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        if in_steps:
            return _check_steps(server, channel, model, requests)
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        repeated = [request for _ in range(_REPETITIONS) for request in requests]
        metadata = tuple((headers or {}).items())
        calls = [
            (request, infer.future(encode_request(model, request), timeout=_TIMEOUT_S, metadata=metadata))
            for request in repeated
        ]
        for request, call in calls:
            try:
                payload = call.result()
            except grpc.RpcError as error:
                raise WrongAnswer(f"{server} fails: {error.code().name}: {error.details()}") from error
            _compare(server, pb.ModelInferResponse.FromString(payload), request)
            response_bytes = len(payload)
    return response_bytes


def _check_steps(server: str, channel: grpc.Channel, model: str, requests: Sequence[BenchmarkRequest]) -> int:
    """Send each request a point at a time, all of them on streams at once; return the size of a response."""
    infer: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_STREAM_METHOD)
    calls = []
    for identity, request in enumerate(requests, 1):
        points = [request.input[:, at : at + 1] for at in range(request.input.shape[1])]
        last = len(points) - 1
        messages = [
            encode_step(model, point, identity, starts=at == 0, ends=at == last) for at, point in enumerate(points)
        ]
        calls.append((request, infer(iter(messages), timeout=_TIMEOUT_S)))
    response_bytes = 0
    for request, call in calls:
        try:
            *_, payload = call
        except grpc.RpcError as error:
            raise WrongAnswer(f"{server} fails: {error.code().name}: {error.details()}") from error
        response = pb.ModelStreamInferResponse.FromString(payload)
        if response.error_message:
            raise WrongAnswer(f"{server} fails: {response.error_message}")
        _compare(server, response.infer_response, request)
        response_bytes = len(payload)
    return response_bytes


def _compare(server: str, response: pb.ModelInferResponse, request: BenchmarkRequest) -> None:
    where = f"{server}, input {request.input.shape}"
    names = [output.name for output in response.outputs]
    if names != ["logits"]:
        raise WrongAnswer(f"{where}: the outputs are {names}, expected ['logits']")
    shape = tuple(response.outputs[0].shape)
    if shape != request.logits.shape:
        raise WrongAnswer(f"{where}: logits are {shape}, expected (batch, classes) = {request.logits.shape}")
    logits = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(shape)
    largest = float(np.abs(logits - request.logits).max())
    # Written with `not`, so that NaN is refused too.
    if not largest <= LOGIT_LIMIT or logits.argmax() != request.logits.argmax():
        raise WrongAnswer(f"{where}: logits are {logits.tolist()}, expected eager PyTorch's {request.logits.tolist()}")
