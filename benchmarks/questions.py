"""What is sent: the same sequences for every server and client."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rnnserve.protos import inference_pb2 as pb

__all__ = ["Question", "encode", "frame", "perf_analyzer_data", "read_questions"]


@dataclasses.dataclass(frozen=True)
class Question:
    """A request and its answer.

    Attributes:
        input: (1, sequence, features) float32.
        logits: What eager PyTorch answers, (1, classes) float32.
    """

    input: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


def read_questions(answers: Path, model: str, lengths: tuple[int, int]) -> list[Question]:
    """Read one question of each length, from `answers.npz` of benchmarks.models."""
    shortest, longest = lengths
    with np.load(answers) as held:
        return [
            Question(held[f"{model}/{length}/input"], held[f"{model}/{length}/logits"])
            for length in range(shortest, longest + 1)
        ]


def encode(model: str, question: Question) -> bytes:
    """Write a ModelInfer request for logits."""
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[question.input.astype("<f4").tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=question.input.shape)
    request.outputs.add(name="logits")
    return request.SerializeToString()


def frame(message: bytes) -> bytes:
    """Put gRPC's five bytes before a message: not compressed, and its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def perf_analyzer_data(asked: Sequence[Question], *, with_batch: bool) -> str:
    """Write perf_analyzer's JSON, an entry a question, shuffled so that neighbours differ in length.

    Args:
        asked: The questions.
        with_batch: Whether shapes begin with the batch axis: for a model whose config has max_batch_size 0.
    """
    order = np.random.default_rng(13).permutation(len(asked))
    entries = []
    for index in order:
        points = asked[index].input.astype("<f4")
        shape = list(points.shape if with_batch else points.shape[1:])
        content = {"b64": base64.b64encode(points.tobytes()).decode()}
        entries.append({"input": {"content": content, "shape": shape}})
    return json.dumps({"data": entries})
