"""tritonclient's packages for gRPC and for HTTP, with one interface, and the plan's inputs and correct answers as
arrays.

A program imports the modules with the features to try, and then selects its package with `run_as`.
"""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.reporting import PLAN, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]

_STATUSES = {"400": "INVALID_ARGUMENT", "404": "NOT_FOUND", "501": "UNIMPLEMENTED", "503": "UNAVAILABLE"}
"""gRPC's names for HTTP's statuses."""

_chosen: list[tuple[types.ModuleType, Callable[..., Any]]] = []


def run_as(package: types.ModuleType, connect: Callable[..., Any]) -> None:
    """Try all features.

    Args:
        package: tritonclient.grpc or tritonclient.http.
        connect: Creates the package's client from a server's name in the plan, and options.
    """
    _chosen.append((package, connect))
    run(_refusal)


def _refusal(error: BaseException) -> tuple[str, str] | None:
    """Return status and message of a client's exception, or None for other exceptions."""
    if isinstance(error, InferenceServerException) and error.status():
        return error.status().removeprefix("StatusCode."), error.message()
    return None


def _package() -> Any:
    return _chosen[-1][0]


def _is_http() -> bool:
    return _package().__name__ == "tritonclient.http"


def client(server: str = "plain", **more: Any) -> Any:
    """Make a client of one of the plan's servers."""
    return _chosen[-1][1](server, **more)


def as_json() -> dict[str, bool]:
    """Return arguments that make a method return JSON."""
    return {} if _is_http() else {"as_json": True}


def response_of(said: Any) -> dict[str, Any]:
    """Return the response of a result, as JSON."""
    return said.get_response(**as_json())


def outputs_of(said: Any) -> list[str]:
    """Return the names of a result's outputs."""
    return [output["name"] for output in response_of(said)["outputs"]]


def inputs(array: np.ndarray, name: str = "input", datatype: str = "FP32", *, binary: bool = True) -> list[Any]:
    """Return one input as the list that `infer` takes."""
    tensor = _package().InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **_binary(binary))
    return [tensor]


def wanted(*names: str, binary: bool = True, **more: Any) -> list[Any]:
    """Return requested outputs as the list that `infer` takes."""
    return [_package().InferRequestedOutput(name, **_binary(binary), **more) for name in names]


def _binary(is_binary: bool) -> dict[str, bool]:
    return {"binary_data": is_binary} if _is_http() else {}


def same(found: Any, expected: Any) -> None:
    """Compare an array with the expected one.

    Raises:
        AssertionError: If shapes differ, or values by more than rounding.
    """
    np.testing.assert_allclose(found, np.array(expected), rtol=0, atol=1e-5, strict=False)
    assert np.shape(found) == np.shape(expected), f"shape {np.shape(found)}, expected {np.shape(expected)}"


def walk(index: int = 0, *, binary: bool = True) -> tuple[list[Any], np.ndarray]:
    """Return a walk as a batch of one row, and its logits (1, 2)."""
    points = np.array([CLASSIFIER["walks"][index]], np.float32)
    return inputs(points, binary=binary), np.array([CLASSIFIER["logits"][index]])


def walk_batch(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return walks from the plan, repeated and padded, with their correct logits.

    Args:
        rows: Number of walks.

    Returns:
        input (batch, sequence, 2) float32, lengths (batch) int64, logits (batch, 2) float32.
    """
    walks = CLASSIFIER["walks"]
    chosen = [index % len(walks) for index in range(rows)]
    lengths = np.array([len(walks[index]) for index in chosen], np.int64)
    points = np.zeros((rows, int(lengths.max()), 2), np.float32)
    for row, index in enumerate(chosen):
        points[row, : lengths[row]] = walks[index]
    return points, lengths, np.array([CLASSIFIER["logits"][index] for index in chosen], np.float32)


def refused(call: Callable[[], Any], status: str, *words: str) -> None:
    """Check that a call is refused with a status, and a message that contains all the words."""
    try:
        call()
    except InferenceServerException as error:
        told = _refusal(error)
        assert told is not None, error
        assert told[0] == (status if _is_http() else _STATUSES.get(status, status)), told
        assert all(word in told[1] for word in words), told
        return
    raise AssertionError(f"expected {status}")
