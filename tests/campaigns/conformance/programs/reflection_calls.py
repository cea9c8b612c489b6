"""Calls and requests of grpc_requests, as its programs need them."""

import base64
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from grpc_requests import Client

from campaigns.conformance.programs.reporting import PLAN

__all__ = [
    "CLASSIFIER",
    "MODEL",
    "SERVICE",
    "TEXT",
    "ask",
    "batch_of",
    "logits_of",
    "refused",
    "steps",
    "walk",
    "wrong_shape",
]

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
SERVICE = "inference.GRPCInferenceService"


def ask(
    method: str,
    request: dict[str, Any] | list[dict[str, Any]] | None = None,
    server: str = "plain",
    service: str = SERVICE,
    **more: Any,
) -> Any:
    """Call a method; `more` is of grpcio: `timeout`, `metadata`."""
    return Client(PLAN["servers"][server]).request(service, method, request or {}, **more)


def walk(index: int = 0, **more: Any) -> dict[str, Any]:
    """A request with a walk in raw contents, as protobuf's JSON has them."""
    points = np.array([CLASSIFIER["walks"][index]], np.float32)
    return {
        "model_name": MODEL,
        "inputs": [{"name": "input", "datatype": "FP32", "shape": list(points.shape)}],
        "outputs": [{"name": "logits"}],
        "raw_input_contents": [base64.b64encode(points.tobytes()).decode()],
        **more,
    }


def batch_of(points: np.ndarray, lengths: np.ndarray | None = None) -> dict[str, Any]:
    """A request of walks: points (batch, sequence, 2) float32, lengths (batch) int64."""
    arrays = {"input": points} if lengths is None else {"input": points, "lengths": lengths}
    datatypes = {"input": "FP32", "lengths": "INT64"}
    return walk(
        inputs=[
            {"name": name, "datatype": datatypes[name], "shape": list(array.shape)} for name, array in arrays.items()
        ],
        raw_input_contents=[base64.b64encode(array.tobytes()).decode() for array in arrays.values()],
    )


def logits_of(response: dict[str, Any]) -> np.ndarray:
    raw = base64.b64decode(response["raw_output_contents"][0])
    return np.frombuffer(raw, np.float32).reshape([int(size) for size in response["outputs"][0]["shape"]])


def refused(call: Callable[[], Any], status: str, *words: str) -> Any:
    """Check that a call is refused with a status and with a message that has all the words; returns the error."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code().name == status, error
        for word in words:
            assert word in error.details(), error
        return error
    raise AssertionError(f"expected {status}")


def wrong_shape() -> dict[str, Any]:
    sent = walk()
    sent["inputs"][0]["shape"] = [1, 1, 3]
    return sent


def steps(points: list[list[float]], sequence: int) -> list[dict[str, Any]]:
    """The requests of a sequence, a point each."""
    return [
        walk(
            inputs=[{"name": "input", "datatype": "FP32", "shape": [1, 1, 2]}],
            raw_input_contents=[base64.b64encode(np.array(values, np.float32).tobytes()).decode()],
            parameters={
                "sequence_id": {"int64_param": sequence},
                "sequence_start": {"bool_param": step == 0},
                "sequence_end": {"bool_param": step == len(points) - 1},
            },
        )
        for step, values in enumerate(points)
    ]
