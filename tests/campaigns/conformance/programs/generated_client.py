"""open-inference-openapi: the client that is generated from the protocol's own OpenAPI document."""

import ssl
from typing import Any

import httpx
import numpy as np
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types import InferenceRequest, InferenceResponse

from campaigns.conformance.programs.arrays import drawn_walks, same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]


def client(server: str = "plain") -> OpenInferenceClient:
    if server == "tls":
        trusting = httpx.Client(verify=ssl.create_default_context(cafile=PLAN["ca"]), timeout=60)
        return OpenInferenceClient(base_url=f"https://{PLAN['http'][server]}", httpx_client=trusting)
    return OpenInferenceClient(base_url=f"http://{PLAN['http'][server]}")


def tensor(array: np.ndarray, name: str = "input") -> dict[str, Any]:
    datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.tolist()}


def infer(*inputs: dict[str, Any], model: str = MODEL, asked: Any = None, **more: Any) -> InferenceResponse:
    request = InferenceRequest(inputs=list(inputs), **more)
    return (asked or client()).model_infer(model, request=request)


def walk(index: int = 0) -> dict[str, Any]:
    return tensor(np.array([CLASSIFIER["walks"][index]], np.float32))


def output(answer: InferenceResponse, name: str = "logits") -> np.ndarray:
    (found,) = [each for each in answer.outputs if each.name == name]
    return np.array(found.data.__root__, np.float32).reshape(found.shape)


def refused(call: Any, status: int, *words: str) -> None:
    try:
        call()
    except ApiError as error:
        assert error.status_code == status, str(error)
        assert all(word in error.body["error"] for word in words), str(error)
    else:
        raise AssertionError(f"expected {status}")


@feature("live")
def live() -> None:
    client().check_server_liveness()


@feature("ready")
def ready() -> None:
    asked = client()
    asked.check_server_readiness()
    asked.check_model_readiness(MODEL)
    asked.check_model_version_readiness(MODEL, "1")
    refused(lambda: asked.check_model_readiness("unknown"), 404, "unknown")
    refused(lambda: client("explicit").check_model_readiness(TEXT["model"]), 503)


@feature("server-metadata")
def server_metadata() -> None:
    assert client().read_server_metadata().name == "rnnserve"


@feature("model-metadata")
def model_metadata() -> None:
    for metadata in (client().read_model_metadata(MODEL), client().read_model_version_metadata(MODEL, "1")):
        first = metadata.inputs[0]
        assert (first.name, first.datatype, first.shape) == ("input", "FP32", [-1, -1, 2]), first
    refused(lambda: client().read_model_metadata("unknown"), 404, "unknown")


@feature("infer-json")
def infer_json() -> None:
    same(output(infer(walk())), [CLASSIFIER["logits"][0]])
    request = InferenceRequest(inputs=[walk()])
    same(output(client().model_version_infer(MODEL, "1", request=request)), [CLASSIFIER["logits"][0]])


@feature("walks")
def walks() -> None:
    drawn, asked = drawn_walks(), client()
    wanted = [{"name": "logits"}]
    drawn.check(
        [
            output(infer(tensor(points[None]), model=drawn.model, asked=asked, outputs=wanted))[0]
            for points in drawn.walks
        ]
    )


@feature("outputs")
def outputs() -> None:
    for names in (["logits"], ["h_n", "logits"]):
        answer = infer(walk(), outputs=[{"name": name} for name in names])
        assert [each.name for each in answer.outputs] == names


@feature("id")
def request_id() -> None:
    assert infer(walk(), id="mine").id == "mine"
    assert infer(walk()).id


@feature("batch")
def batch() -> None:
    """Without lengths: the client would write them as 3.0."""
    points, _, _ = walk_batch(1)
    for rows in (1, 2, 7, 64):
        same(output(infer(tensor(np.repeat(points, rows, axis=0)))), [CLASSIFIER["logits"][0]] * rows)


@feature("classification")
def classification() -> None:
    answer = infer(walk(), outputs=[{"name": "logits", "parameters": {"classification": 1}}])
    value, index, label = answer.outputs[0].data.__root__[0].split(":")
    best = int(np.argmax(CLASSIFIER["logits"][0]))
    assert (int(index), label) == (best, CLASSIFIER["labels"][best])
    same(float(value), CLASSIFIER["logits"][0][best])


@feature("timeout")
def timeout() -> None:
    infer(walk(), parameters={"timeout": 10_000_000})
    refused(lambda: infer(walk(), parameters={"timeout": 1}), 503, "Request timeout expired")


@feature("priority")
def priority() -> None:
    infer(walk(), parameters={"priority": 1})


@feature("parameters")
def parameters() -> None:
    infer(walk(), parameters={"text": "a", "number": 3, "flag": True})


@feature("error")
def errors() -> None:
    refused(lambda: infer(tensor(np.zeros((1, 2, 3), np.float32))), 400, '"input"', "features")
    refused(lambda: infer(walk(), model="unknown"), 404, "unknown")


@feature("tls")
def tls() -> None:
    same(output(infer(walk(), asked=client("tls"))), [CLASSIFIER["logits"][0]])


@feature("carried")
def carried() -> None:
    states: list[dict[str, Any]] = []
    for point in CLASSIFIER["walks"][2]:
        answer = infer(tensor(np.array([[point]], np.float32)), *states)
        states = [tensor(output(answer, "h_n"), "h_0")]
    same(output(answer), [CLASSIFIER["logits"][2]])


@feature("sequence")
def sequence() -> None:
    points, asked = CLASSIFIER["walks"][2], client()
    for at, point in enumerate(points):
        control = {"sequence_id": 70081, "sequence_start": at == 0, "sequence_end": at == len(points) - 1}
        answer = infer(tensor(np.array([[point]], np.float32)), asked=asked, parameters=control)
    same(output(answer), [CLASSIFIER["logits"][2]])


if __name__ == "__main__":
    run(lambda error: (str(error.status_code), str(error.body)) if isinstance(error, ApiError) else None)
