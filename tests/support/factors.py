"""A model that multiplies by a factor, so that an answer says which publication of it gave it."""

import shutil
from pathlib import Path

import numpy as np

from rnnserve.protos import inference_pb2 as pb
from support.artifacts import build_model, publish_model, tensor
from support.example_models import node
from support.inference_requests import arrays, request

__all__ = ["ask_factor", "factor_of", "publish_factor"]


def publish_factor(root: Path, name: str, version: int, factor: float) -> Path:
    """Publish a version by one rename, as export does, in the place of another one of its number.

    Args:
        root: The repository.
        name: The model's.
        version: Its number.
        factor: What it multiplies by.

    Returns:
        Its folder.
    """
    inputs, outputs = [tensor("input", "FP32", "batch", "sequence")], [tensor("output", "FP32", "batch", "sequence")]
    built = build_model([node("Mul", "input factor", "output")], inputs, outputs, {"factor": np.float32([factor])})
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
