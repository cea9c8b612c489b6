"""Just any model, without torch: it multiplies by a factor, so that an answer says which publication of it gave it."""

import contextlib
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

from kit.artifacts import build_model, publish_model, tensor
from kit.example_models import node
from kit.inference_requests import arrays, request
from kit.served import new_channel
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

__all__ = ["AskingForFactor", "answers", "ask_factor", "factor_of", "is_answered_by", "publish_tiny"]


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
    built = build_model(
        [node("Mul", "input factor", "output")], inputs, outputs, {"factor": np.array([factor], np.float32)}
    )
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


def ask_factor(name: str, version: str = "") -> pb.ModelInferRequest:
    """A request whose answer is the factor."""
    return request(name, {"input": np.ones((1, 1), np.float32)}, version=version)


def factor_of(answer: pb.ModelInferResponse) -> tuple[str, float]:
    """The version that gave an answer, and its factor."""
    return answer.model_version, float(arrays(answer)["output"][0, 0])


class AskingForFactor:
    """Clients that ask for a model all the while.

    Attributes:
        factors: Versions and factors that answered.
        failures: What was said instead.
    """

    def __init__(self, port: int, name: str = "scale") -> None:
        self.factors: Counter[tuple[str, float]] = Counter()
        self.failures: list[str] = []
        self._port, self._name = port, name
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator["AskingForFactor"]:
        """Ask inside a `with`."""
        threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join(30)

    def _ask(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
            while not self._is_over.is_set():
                try:
                    self.factors[factor_of(infer(ask_factor(self._name), timeout=30))] += 1
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code().name}: {error.details()}")

    def until_answered_by(self, version: str, factor: float) -> None:
        """Wait until a version's answers have come."""
        until(lambda: self.factors[version, factor] > 20)


def answers(port: int, name: str = "scale") -> set[tuple[str, float]]:
    """Which versions and factors answer, on 20 connections: with two workers, both are met all but surely."""
    return _answers(port, name, 20)


def is_answered_by(port: int, version: str, factor: float, name: str = "scale") -> bool:
    """Whether `answers` gives this and nothing else. One connection tells most times that it does not yet."""
    expected = {(version, factor)}
    return _answers(port, name, 1) == expected and answers(port, name) == expected


def _answers(port: int, name: str, connections: int) -> set[tuple[str, float]]:
    met = set()
    for _ in range(connections):
        with new_channel(port) as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            met.add(factor_of(stub.ModelInfer(ask_factor(name), timeout=30)))
    return met
