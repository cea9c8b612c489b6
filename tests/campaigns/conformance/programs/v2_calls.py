"""Clients in Python, called alike, as tritonclient is: over gRPC or HTTP, those of others by a class of their program.

A program imports the modules whose features it tries, and then chooses its client with `run_as`. If it registers a
feature that a shared module has registered, its own check replaces the shared one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from campaigns.conformance.programs.reporting import PLAN, run

__all__ = [
    "CLASSIFIER", "MODEL", "TEXT", "Way", "as_json", "client", "inputs", "outputs_of", "refused", "response_of",
    "run_as", "walk", "wanted",
]  # fmt: skip

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]


@dataclasses.dataclass(frozen=True)
class Way:
    """A client.

    Attributes:
        client: Function of a server's name in the plan, and options, that makes a client whose calls wait.
        tensor: Class of inputs, as tritonclient's `InferInput`.
        output: Class of the outputs that are asked for, as tritonclient's `InferRequestedOutput`.
        refusal: Function that gives status and message of the client's exception, or None for others.
        statuses: The client's words for HTTP's statuses. Empty for HTTP.
        of_binary: Option with which tensors are sent as bytes or as text. Empty if there is no choice.
        as_json: Arguments with which methods return JSON.
    """

    client: Callable[..., Any]
    tensor: Any
    output: Any
    refusal: Callable[[BaseException], tuple[str, str] | None]
    statuses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    of_binary: str = ""
    as_json: Mapping[str, bool] = dataclasses.field(default_factory=dict)


_chosen: list[Way] = []


def run_as(way: Way) -> None:
    """Try all features with a client."""
    _chosen.append(way)
    run(way.refusal)


def client(server: str = "plain", **more: Any) -> Any:
    """Make a client of one of the plan's servers, in the way that was chosen."""
    return _chosen[-1].client(server, **more)


def as_json() -> Mapping[str, bool]:
    """Arguments with which a method returns JSON."""
    return _chosen[-1].as_json


def response_of(said: Any) -> dict[str, Any]:
    """The response that a result is of, in JSON."""
    return said.get_response(**as_json())


def outputs_of(said: Any) -> list[str]:
    """The names of a result's outputs."""
    return [output["name"] for output in response_of(said)["outputs"]]


def inputs(array: np.ndarray, name: str = "input", datatype: str = "FP32", *, binary: bool = True) -> list[Any]:
    """An input, as the list that `infer` takes."""
    tensor = _chosen[-1].tensor(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **_binary(binary))
    return [tensor]


def wanted(*names: str, binary: bool = True, **more: Any) -> list[Any]:
    """Outputs, as the list that `infer` takes."""
    return [_chosen[-1].output(name, **_binary(binary), **more) for name in names]


def _binary(is_binary: bool) -> dict[str, bool]:
    return {_chosen[-1].of_binary: is_binary} if _chosen[-1].of_binary else {}


def walk(index: int = 0, *, binary: bool = True) -> tuple[list[Any], np.ndarray]:
    """A walk as a batch of one row, and its logits (1, 2)."""
    points = np.array([CLASSIFIER["walks"][index]], np.float32)
    return inputs(points, binary=binary), np.array([CLASSIFIER["logits"][index]])


def refused(call: Callable[[], Any], status: str, *words: str) -> BaseException:
    """Check that a call is refused with a status, HTTP's or the client's own word, and a message with all the words.

    Returns:
        The exception.
    """
    try:
        call()
    except Exception as error:
        told = _chosen[-1].refusal(error)
        if told is None:
            raise
        assert told[0] == _chosen[-1].statuses.get(status, status), told
        assert all(word in told[1] for word in words), told
        return error
    raise AssertionError(f"expected {status}")
