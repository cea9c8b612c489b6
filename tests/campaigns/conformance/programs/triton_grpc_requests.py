"""tritonclient over gRPC: single requests, metadata, and how calls are made."""

import queue
import time
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import auth
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.arrays import same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.triton_grpc_calls import (
    CLASSIFIER,
    MODEL,
    TEXT,
    WAIT,
    client,
    inputs,
    long_walks,
    refused,
    stream,
    walk,
)


@feature("live")
def live() -> None:
    assert client().is_server_live()


@feature("ready")
def ready() -> None:  # simple_grpc_health_metadata.py
    asked = client()
    assert asked.is_server_ready()
    assert asked.is_model_ready(MODEL)
    assert asked.is_model_ready(MODEL, "1")
    assert not asked.is_model_ready("unknown")


@feature("server-metadata")
def server_metadata() -> None:
    assert client().get_server_metadata().name == "rnnserve"
    assert client().get_server_metadata(as_json=True)["extensions"]


@feature("model-metadata")
def model_metadata() -> None:
    asked = client()
    metadata = asked.get_model_metadata(MODEL)
    described = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs]
    assert described[0] == ("input", "FP32", [-1, -1, 2]), described
    refused(lambda: asked.get_model_metadata("unknown"), "NOT_FOUND", "unknown")


@feature("model-config")
def model_config() -> None:
    config = client().get_model_config(MODEL).config
    assert config.name == MODEL
    assert [tensor.name for tensor in config.output] == ["logits", "h_n"]


@feature("infer-raw")
def infer() -> None:  # simple_grpc_infer_client.py
    sent, logits = walk()
    result = client().infer(MODEL, sent)
    same(result.as_numpy("logits"), logits)
    assert result.get_response().model_version == "1"
    assert result.get_output("h_n").datatype == "FP32"


@feature("infer-integers")
def infer_integers() -> None:
    for row, logits in zip(TEXT["rows"], TEXT["logits"], strict=True):
        result = client().infer(TEXT["model"], inputs(np.array([row], np.int64), "tokens", "INT64"))
        same(result.as_numpy("logits"), [logits])


@feature("infer-async")
def infer_async() -> None:  # simple_grpc_async_infer_client.py
    asked, answers = client(), queue.SimpleQueue()
    count = 200
    for index in range(count):
        sent, _ = walk(index % len(CLASSIFIER["walks"]))
        asked.async_infer(MODEL, sent, lambda result, error: answers.put((result, error)), request_id=str(index))
    for _ in range(count):
        result, error = answers.get(timeout=WAIT)
        assert error is None, error
        _, logits = walk(int(result.get_response().id) % len(CLASSIFIER["walks"]))
        same(result.as_numpy("logits"), logits)


@feature("outputs")
def outputs() -> None:
    asked = client()
    for names in (["logits"], ["h_n", "logits"]):
        response = asked.infer(MODEL, walk()[0], outputs=[triton.InferRequestedOutput(name) for name in names])
        assert [output.name for output in response.get_response().outputs] == names


@feature("id")
def request_id() -> None:
    assert client().infer(MODEL, walk()[0], request_id="mine").get_response().id == "mine"


@feature("batch")
def batch() -> None:
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        sent = inputs(points) + inputs(lengths, "lengths", "INT64")
        same(client().infer(MODEL, sent).as_numpy("logits"), logits)


@feature("lengths")
def padded() -> None:  # reuse_infer_objects_client.py: the objects of a request are used again
    asked = client()
    points, lengths, logits = walk_batch(4)
    sent = inputs(points) + inputs(lengths, "lengths", "INT64")
    wanted = [triton.InferRequestedOutput("logits")]
    for _ in range(3):
        same(asked.infer(MODEL, sent, outputs=wanted).as_numpy("logits"), logits)


@feature("classification")
def classification() -> None:  # grpc_image_client.py
    sent, logits = walk()
    result = client().infer(MODEL, sent, outputs=[triton.InferRequestedOutput("logits", class_count=1)])
    value, index, label = result.as_numpy("logits")[0][0].decode().split(":")
    best = int(np.argmax(logits[0]))
    assert (int(index), label) == (best, CLASSIFIER["labels"][best])
    same(float(value), logits[0][best])


@feature("timeout")
def timeout() -> None:
    asked = client()
    same(asked.infer(MODEL, walk()[0], timeout=10_000_000).as_numpy("logits"), walk()[1])
    refused(lambda: asked.infer(MODEL, walk()[0], timeout=1), "UNAVAILABLE", "Request timeout expired")


@feature("priority")
def priority() -> None:
    same(client().infer(MODEL, walk()[0], priority=1).as_numpy("logits"), walk()[1])


@feature("parameters")
def parameters() -> None:
    asked = client()
    mine = {"text": "a", "number": 3, "flag": True}
    same(asked.infer(MODEL, walk()[0], parameters=mine).as_numpy("logits"), walk()[1])
    # reserved, as in Triton: refused by the client itself, and so with words of its own
    refused_by_client = False
    try:
        asked.infer(MODEL, walk()[0], parameters={"sequence_id": 3})
    except InferenceServerException:
        refused_by_client = True
    assert refused_by_client


@feature("headers")
def headers() -> None:
    asked = client()
    asked.register_plugin(auth.BasicAuth("user", "password"))
    same(asked.infer(MODEL, walk()[0], headers={"my-header": "a"}).as_numpy("logits"), walk()[1])
    assert asked.is_server_live(headers={"my-header": "a"})


@feature("error")
def errors() -> None:
    asked = client()
    wrong = inputs(np.zeros((1, 2, 3), np.float32))
    refused(lambda: asked.infer(MODEL, wrong), "INVALID_ARGUMENT", '"input"', "features")
    refused(lambda: asked.infer("unknown", walk()[0]), "NOT_FOUND", "unknown")
    refused(lambda: asked.infer(MODEL, walk()[0], model_version="7"), "NOT_FOUND", "7")


@feature("deadline")
def deadline() -> None:
    asked = client()
    refused(lambda: asked.infer(MODEL, inputs(long_walks()), client_timeout=0.03), "DEADLINE_EXCEEDED")
    same(asked.infer(MODEL, walk()[0], client_timeout=WAIT).as_numpy("logits"), walk()[1])


@feature("cancellation")
def cancellation() -> None:
    asked = client()
    told: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    call = asked.async_infer(MODEL, inputs(long_walks()), lambda result, error: told.put((result, error)))
    time.sleep(0.03)
    call.cancel()
    _, error = told.get(timeout=WAIT)
    assert error is not None
    assert error.status() == "StatusCode.CANCELLED", error
    same(asked.infer(MODEL, walk()[0]).as_numpy("logits"), walk()[1])


@feature("compression")
def compression() -> None:
    points, lengths, logits = walk_batch(64)
    sent = inputs(points) + inputs(lengths, "lengths", "INT64")
    for algorithm in ("gzip", "deflate"):
        same(client().infer(MODEL, sent, compression_algorithm=algorithm).as_numpy("logits"), logits)
    asked = client()
    with stream(asked, compression_algorithm="gzip") as answers:
        asked.async_stream_infer(MODEL, walk()[0])
        same(answers.get(timeout=WAIT)[0].as_numpy("logits"), walk()[1])


@feature("tls")
def tls() -> None:
    asked = client("tls", ssl=True, root_certificates=PLAN["ca"])
    same(asked.infer(MODEL, walk()[0]).as_numpy("logits"), walk()[1])


@feature("keepalive")
def keepalive() -> None:  # simple_grpc_keepalive_client.py, and simple_grpc_custom_args_client.py
    options = triton.KeepAliveOptions(
        keepalive_time_ms=200,
        keepalive_timeout_ms=5000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    asked = client(keepalive_options=options)
    assert asked.is_server_live()
    time.sleep(1.0)
    same(asked.infer(MODEL, walk()[0]).as_numpy("logits"), walk()[1])
    custom = client(channel_args=[("grpc.keepalive_time_ms", 10000), ("grpc.lb_policy_name", "pick_first")])
    same(custom.infer(MODEL, walk()[0]).as_numpy("logits"), walk()[1])
