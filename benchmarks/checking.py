"""Every server's answers are checked before it is timed."""

from collections.abc import Sequence

import grpc
import numpy as np

from benchmarks.errors import WrongAnswer
from benchmarks.questions import Question, encode
from rnnserve.protos import inference_pb2 as pb

__all__ = ["METHOD", "check"]

METHOD = "/inference.GRPCInferenceService/ModelInfer"

_LIMIT = 1e-4
"""How far logits may be from eager's: random weights amplify nothing, and a mistake is off by a hundred times that."""

_TIMES = 4
_SECONDS = 30.0


def check(server: str, port: int, model: str, asked: Sequence[Question]) -> int:
    """Ask every question several times, many at once so that they share batches, and compare with eager PyTorch.

    Returns:
        The size of a response in bytes: the load generators' responses are held against it.

    Raises:
        WrongAnswer: If a label or a logit is not eager's, or a request fails.
    """
    size = 0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        questions = [question for _ in range(_TIMES) for question in asked]
        calls = [(question, infer.future(encode(model, question), timeout=_SECONDS)) for question in questions]
        for question, call in calls:
            try:
                payload = call.result()
            except grpc.RpcError as error:
                raise WrongAnswer(f"{server} fails: {error.code().name}: {error.details()}") from error
            _compare(server, pb.ModelInferResponse.FromString(payload), question)
            size = len(payload)
    return size


def _compare(server: str, response: pb.ModelInferResponse, question: Question) -> None:
    where = f"{server}, input {question.input.shape}"
    names = [output.name for output in response.outputs]
    if names != ["logits"]:
        raise WrongAnswer(f"{where}: answers {names}, asked for ['logits']")
    shape = tuple(response.outputs[0].shape)
    if shape != question.logits.shape:
        raise WrongAnswer(f"{where}: logits are {shape}, expected (batch, classes) = {question.logits.shape}")
    logits = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(shape)
    furthest = float(np.abs(logits - question.logits).max())
    if not furthest <= _LIMIT or logits.argmax() != question.logits.argmax():
        raise WrongAnswer(f"{where}: logits are {logits.tolist()}, eager PyTorch says {question.logits.tolist()}")
