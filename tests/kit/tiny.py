"""Just any model, without torch: it multiplies by a factor, so that an answer says which publication of it gave it."""

import shutil
from pathlib import Path

import grpc
import numpy as np

from kit.artifacts import build_model, publish_model, tensor
from kit.inference_requests import arrays, request
from kit.served import new_channel
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc


def publish_tiny(root: Path, name: str = "scale", version: int = 1, factor: float = 2.0) -> Path:
    """Publish a version by one rename, as export does, in the place of another one of its number.

    Args:
        root: The repository.
        name: The model's.
        version: Its number.
        factor: What it multiplies "input" (batch, sequence) by, for "output".

    Returns:
        Its folder.
    """
    inputs, outputs = [tensor("input", "FP32", "batch", "sequence")], [tensor("output", "FP32", "batch", "sequence")]
    factors = {"factor": np.array([factor], np.float32)}
    built = build_model("output = Mul (input, factor)", inputs, outputs, factors)
    staging, folder = root.parent / "staging", root / name / str(version)
    shutil.rmtree(staging, ignore_errors=True)
    samples = [{"input": np.ones((batch, 3), np.float32)} for batch in (1, 2)]
    published = publish_model(staging, name, built, inputs, outputs, samples, version=version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not (folder.parent / "config.pbtxt").exists():
        (staging / name / "config.pbtxt").rename(folder.parent / "config.pbtxt")
    if folder.exists():
        folder.rename(root.parent / "gone")
        shutil.rmtree(root.parent / "gone")
    published.rename(folder)
    return folder


def ask_factor(name: str) -> pb.ModelInferRequest:
    """A request whose answer is the factor."""
    return request(name, {"input": np.ones((1, 1), np.float32)})


def factor_of(answer: pb.ModelInferResponse) -> tuple[str, float]:
    """The version that gave an answer, and its factor."""
    return answer.model_version, float(arrays(answer)["output"][0, 0])


def call_for_factor(channel: grpc.Channel, name: str = "scale") -> tuple[str, float] | str:
    """Make a request; return the version that answers and its factor, or the error's status and message."""
    try:
        return factor_of(rpc.GRPCInferenceServiceStub(channel).ModelInfer(ask_factor(name), timeout=30))
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def answers(port: int, name: str = "scale", connections: int = 20) -> set[tuple[str, float] | str]:
    """Return what `call_for_factor` does on new connections: with two workers, 20 meet both all but surely."""
    met = set()
    for _ in range(connections):
        with new_channel(port) as channel:
            met.add(call_for_factor(channel, name))  # a worker that ends resets connections that it has not accepted
    return met


def is_answered_by(port: int, version: str, factor: float) -> bool:
    """Whether `answers` gives this and nothing else. One connection tells most times that it does not yet."""
    expected: set[tuple[str, float] | str] = {(version, factor)}
    return answers(port, connections=1) == expected and answers(port) == expected
