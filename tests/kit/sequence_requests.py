"""Requests of kept sequences, and how tests send them: by calls, and on streams."""

import queue
import time
from collections.abc import Iterator, Sequence

import grpc
import numpy as np

from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb

SIMPLE = "direction_simple"
PATIENCE = 30.0


def step(inputs, identity, *, name=SIMPLE, starts=False, ends=False, outputs=("logits", "h_n"), **kwargs):
    """A request of a sequence."""
    sent = inputs if isinstance(inputs, dict) else {"input": inputs}
    message = request(name, sent, outputs, **kwargs)
    kind = "string_param" if isinstance(identity, str) else "int64_param"
    message.parameters["sequence_id"].CopyFrom(pb.InferParameter(**{kind: identity}))
    message.parameters["sequence_start"].bool_param = starts
    message.parameters["sequence_end"].bool_param = ends
    return message


def in_parts(
    inputs, parts: Sequence[int], identity, *, input_name: str = "input", **kwargs
) -> Iterator[pb.ModelInferRequest]:
    """The requests of a sequence that is cut into parts of so many steps."""
    at = 0
    for number, steps in enumerate(parts):
        ends = number == len(parts) - 1
        part = {input_name: inputs[:, at : at + steps]}
        yield step(part, identity, starts=not number, ends=ends, id=f"part {number}", **kwargs)
        at += steps


def walk(steps: int, rows: int = 1, seed: int = 0) -> np.ndarray:
    """Input (batch, sequence, features)."""
    return np.random.default_rng(seed).normal(size=(rows, steps, 2)).astype(np.float32)


def raw(response: pb.ModelInferResponse) -> list[bytes]:
    return list(response.raw_output_contents)


def refusal(response: pb.ModelStreamInferResponse) -> str:
    """The status of a refusal on a stream."""
    assert response.error_message
    return response.infer_response.parameters["status"].string_param


def answers_of(stub, messages) -> list[pb.ModelStreamInferResponse]:
    """The answers to messages on a stream that are sent without waiting for any."""
    return list(stub.ModelStreamInfer(messages, timeout=PATIENCE))


def eventually(ask):
    """What `ask` gives as soon as it is not refused."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


class Stream:
    """A stream on which a test sends and waits for the answer, one request at a time."""

    def __init__(self, stub, **kwargs):
        self._sent = queue.SimpleQueue()
        self.call = stub.ModelStreamInfer(iter(self._sent.get, None), timeout=PATIENCE, **kwargs)

    def send(self, message):
        self._sent.put(message)

    def ask(self, message) -> pb.ModelStreamInferResponse:
        self.send(message)
        return next(self.call)

    def end(self) -> list[pb.ModelStreamInferResponse]:
        self._sent.put(None)
        return list(self.call)


class Calls:
    """Asks by calls, as `Stream` does on a stream."""

    def __init__(self, stub):
        self._stub = stub

    def ask(self, message):
        try:
            return pb.ModelStreamInferResponse(infer_response=self._stub.ModelInfer(message, timeout=PATIENCE))
        except grpc.RpcError as error:
            refused = pb.ModelStreamInferResponse(error_message=error.details())
            refused.infer_response.parameters["status"].string_param = error.code().name
            return refused

    def end(self):
        return []
