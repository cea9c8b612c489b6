"""grpc_requests: single requests, metadata, and how calls are made."""

import base64
import time

import grpc
import numpy as np
from grpc_requests import Client

from campaigns.conformance.programs.arrays import same, walk_batch
from campaigns.conformance.programs.reflection_calls import (
    CLASSIFIER,
    MODEL,
    SERVICE,
    TEXT,
    ask,
    batch_of,
    logits_of,
    refused,
    walk,
    wrong_shape,
)
from campaigns.conformance.programs.reporting import PLAN, feature


@feature("reflection")
def reflection() -> None:
    client = Client(PLAN["servers"]["plain"])
    assert {SERVICE, "grpc.health.v1.Health"} <= set(client.service_names), client.service_names
    assert len(client.service(SERVICE).method_names) == 20


@feature("live")
def live() -> None:
    assert ask("ServerLive")["live"]


@feature("ready")
def ready() -> None:
    assert ask("ServerReady")["ready"]
    assert ask("ModelReady", {"name": MODEL})["ready"]
    assert not ask("ModelReady", {"name": "unknown"}).get("ready", False)


@feature("server-metadata")
def server_metadata() -> None:
    assert ask("ServerMetadata")["name"] == "rnnserve"


@feature("model-metadata")
def model_metadata() -> None:
    assert ask("ModelMetadata", {"name": MODEL})["inputs"][0]["shape"] == ["-1", "-1", "2"]


@feature("model-config")
def model_config() -> None:
    assert ask("ModelConfig", {"name": MODEL})["config"]["name"] == MODEL


@feature("infer-raw")
def infer() -> None:
    same(logits_of(ask("ModelInfer", walk())), [CLASSIFIER["logits"][0]])


@feature("infer-typed")
def infer_typed() -> None:
    points = CLASSIFIER["walks"][0]
    tensor = {
        "name": "input",
        "datatype": "FP32",
        "shape": [1, len(points), 2],
        "contents": {"fp32_contents": np.ravel(points).tolist()},
    }
    request = {"model_name": MODEL, "inputs": [tensor], "outputs": [{"name": "logits"}]}
    same(logits_of(ask("ModelInfer", request)), [CLASSIFIER["logits"][0]])


@feature("infer-integers")
def infer_integers() -> None:
    row = TEXT["rows"][0]
    tensor = {"name": "tokens", "datatype": "INT64", "shape": [1, len(row)], "contents": {"int64_contents": row}}
    same(logits_of(ask("ModelInfer", {"model_name": TEXT["model"], "inputs": [tensor]})), [TEXT["logits"][0]])


@feature("outputs")
def outputs() -> None:
    response = ask("ModelInfer", walk(outputs=[{"name": "h_n"}, {"name": "logits"}]))
    assert [output["name"] for output in response["outputs"]] == ["h_n", "logits"]


@feature("id")
def request_id() -> None:
    assert ask("ModelInfer", walk(id="mine"))["id"] == "mine"


@feature("batch")
def batch() -> None:
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        same(logits_of(ask("ModelInfer", batch_of(points, lengths))), logits)


@feature("lengths")
def padded() -> None:
    points, lengths, logits = walk_batch(4)
    same(logits_of(ask("ModelInfer", batch_of(points, lengths))), logits)


@feature("classification")
def classification() -> None:
    wanted = [{"name": "logits", "parameters": {"classification": {"int64_param": 1}}}]
    raw = base64.b64decode(ask("ModelInfer", walk(outputs=wanted))["raw_output_contents"][0])
    best = int(np.argmax(CLASSIFIER["logits"][0]))
    assert raw[4:].decode().split(":")[1:] == [str(best), CLASSIFIER["labels"][best]]


@feature("timeout")
def timeout() -> None:
    enough = walk(parameters={"timeout": {"int64_param": 10_000_000}})
    same(logits_of(ask("ModelInfer", enough)), [CLASSIFIER["logits"][0]])
    short = walk(parameters={"timeout": {"int64_param": 1}})
    refused(lambda: ask("ModelInfer", short), "UNAVAILABLE", "Request timeout expired")


@feature("priority")
def priority() -> None:
    request = walk(parameters={"priority": {"uint64_param": 1}})
    same(logits_of(ask("ModelInfer", request)), [CLASSIFIER["logits"][0]])


@feature("parameters")
def parameters() -> None:
    request = walk(parameters={"mine": {"string_param": "a"}})
    same(logits_of(ask("ModelInfer", request)), [CLASSIFIER["logits"][0]])


@feature("error")
def errors() -> None:
    refused(lambda: ask("ModelInfer", walk(model_name="unknown")), "NOT_FOUND", "unknown")
    refused(lambda: ask("ModelInfer", wrong_shape()), "INVALID_ARGUMENT", '"input"', "features")


@feature("error-details")
def error_details() -> None:
    error = refused(lambda: ask("ModelInfer", wrong_shape()), "INVALID_ARGUMENT")
    assert b"inputs[0].shape" in dict(error.trailing_metadata())["grpc-status-details-bin"]


@feature("deadline")
def deadline() -> None:
    points = np.zeros((500, 4096, 2), np.float32)
    refused(lambda: ask("ModelInfer", batch_of(points), timeout=0.03), "DEADLINE_EXCEEDED")
    same(logits_of(ask("ModelInfer", walk(), timeout=20)), [CLASSIFIER["logits"][0]])


@feature("headers")
def headers() -> None:
    response = ask("ModelInfer", walk(), metadata=(("my-header", "a"), ("my-bytes-bin", b"\x00\xff")))
    same(logits_of(response), [CLASSIFIER["logits"][0]])


@feature("compression")
def compression() -> None:
    client = Client(PLAN["servers"]["plain"], compression=grpc.Compression.Gzip)
    same(logits_of(client.request(SERVICE, "ModelInfer", walk())), [CLASSIFIER["logits"][0]])


@feature("tls")
def tls() -> None:
    client = Client(PLAN["servers"]["tls"], ssl=True, credentials={"root_certificates": PLAN["ca"]})
    same(logits_of(client.request(SERVICE, "ModelInfer", walk())), [CLASSIFIER["logits"][0]])


@feature("keepalive")
def keepalive() -> None:
    options = [("grpc.keepalive_time_ms", 200), ("grpc.keepalive_permit_without_calls", 1)]
    client = Client(PLAN["servers"]["plain"], channel_options=options)
    assert client.request(SERVICE, "ServerLive", {})["live"]
    time.sleep(1.0)
    assert client.request(SERVICE, "ServerLive", {})["live"]
