"""Checks that both packages of tritonclient share, over gRPC and over HTTP."""

import functools
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.triton_calls import (
    CLASSIFIER,
    MODEL,
    TEXT,
    as_json,
    client,
    inputs,
    outputs_of,
    refused,
    response_of,
    same,
    walk,
    walk_batch,
    wanted,
)


@feature("live")
def live() -> None:
    assert client().is_server_live()


@feature("ready")
def ready() -> None:
    asked = client()
    assert asked.is_server_ready()
    assert asked.is_model_ready(MODEL)
    assert asked.is_model_ready(MODEL, "1")
    assert not asked.is_model_ready("unknown")


@feature("server-metadata")
def server_metadata() -> None:
    said = client().get_server_metadata(**as_json())
    assert said["name"] == "rnnserve"
    assert said["extensions"]


@feature("model-metadata")
def model_metadata() -> None:
    asked = client()
    first = asked.get_model_metadata(MODEL, **as_json())["inputs"][0]
    assert (first["name"], first["datatype"], list(map(int, first["shape"]))) == ("input", "FP32", [-1, -1, 2]), first
    refused(lambda: asked.get_model_metadata("unknown"), "404", "unknown")


@feature("model-config")
def model_config() -> None:
    said = client().get_model_config(MODEL, **as_json())
    config = said.get("config", said)
    assert config["name"] == MODEL
    assert [tensor["name"] for tensor in config["output"]] == ["logits", "h_n"]


@feature("infer-integers")
def infer_integers() -> None:
    asked = client()
    for index, (row, logits) in enumerate(zip(TEXT["rows"], TEXT["logits"], strict=True)):
        sent = inputs(np.array([row], np.int64), "tokens", "INT64", binary=index % 2 == 0)
        same(asked.infer(TEXT["model"], sent).as_numpy("logits"), [logits])


@feature("outputs")
def outputs() -> None:
    asked = client()
    for names in (["logits"], ["h_n", "logits"]):
        assert outputs_of(asked.infer(MODEL, walk()[0], outputs=wanted(*names))) == names


@feature("id")
def request_id() -> None:
    assert response_of(client().infer(MODEL, walk()[0], request_id="mine"))["id"] == "mine"


@feature("batch")
def batch() -> None:
    asked = client()
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        sent = inputs(points) + inputs(lengths, "lengths", "INT64", binary=rows % 2 == 0)
        same(asked.infer(MODEL, sent).as_numpy("logits"), logits)


@feature("classification")
def classification() -> None:
    sent, logits = walk()
    for binary in (True, False):
        asked_for = wanted("logits", binary=binary, class_count=1)
        (found,) = client().infer(MODEL, sent, outputs=asked_for).as_numpy("logits").ravel()
        value, index, label = (found.decode() if isinstance(found, bytes) else found).split(":")
        best = int(np.argmax(logits[0]))
        assert (int(index), label) == (best, CLASSIFIER["labels"][best])
        same(float(value), logits[0][best])


@feature("timeout")
def timeout() -> None:
    asked = client()
    same(asked.infer(MODEL, walk()[0], timeout=10_000_000).as_numpy("logits"), walk()[1])
    refused(lambda: asked.infer(MODEL, walk()[0], timeout=1), "503", "Request timeout expired")


@feature("priority")
def priority() -> None:
    same(client().infer(MODEL, walk()[0], priority=1).as_numpy("logits"), walk()[1])


@feature("parameters")
def parameters() -> None:
    mine = {"text": "a", "number": 3, "flag": True}
    same(client().infer(MODEL, walk()[0], parameters=mine).as_numpy("logits"), walk()[1])
    try:
        client().infer(MODEL, walk()[0], parameters={"sequence_id": 3})  # reserved name, refused by the client itself
    except InferenceServerException:
        return
    raise AssertionError("the client takes a reserved parameter")


@feature("error")
def errors() -> None:
    asked = client()
    for binary in (True, False):
        wrong = inputs(np.zeros((1, 2, 3), np.float32), binary=binary)
        refused(functools.partial(asked.infer, MODEL, wrong), "400", '"input"', "features")
    refused(lambda: asked.infer("unknown", walk()[0]), "404", "unknown")
    refused(lambda: asked.infer(MODEL, walk()[0], model_version="7"), "404", "7")
    files: Any = {"file:1/model.onnx": b"x"}
    refused(lambda: client("explicit").load_model(TEXT["model"], config="{}", files=files), "501")
    same(asked.infer(MODEL, walk()[0], model_version="1").as_numpy("logits"), walk()[1])


@feature("tls")
def tls() -> None:
    same(client("tls").infer(MODEL, walk()[0]).as_numpy("logits"), walk()[1])


def take_steps(asked: Any, named: int | str) -> None:
    """Send a walk point by point, as a sequence."""
    points = CLASSIFIER["walks"][1]
    for step, values in enumerate(points):
        said = asked.infer(
            MODEL,
            inputs(np.array([[values]], np.float32)),
            sequence_id=named,
            sequence_start=step == 0,
            sequence_end=step == len(points) - 1,
        )
    same(said.as_numpy("logits"), [CLASSIFIER["logits"][1]])


@feature("statistics")
def statistics() -> None:
    asked = client()
    asked.infer(MODEL, walk()[0])
    (found,) = asked.get_inference_statistics(MODEL, **as_json())["model_stats"]
    assert int(found["inference_count"]) > 0
    assert int(found["inference_stats"]["success"]["ns"]) > 0
    every = asked.get_inference_statistics(**as_json())["model_stats"]
    assert {stats["name"] for stats in every} >= {MODEL, TEXT["model"]}


@feature("index")
def index() -> None:
    said = client().get_model_repository_index(**as_json())
    states = {model["name"]: model["state"] for model in (said if isinstance(said, list) else said["models"])}
    assert states[MODEL] == "READY"


@feature("load")
def load() -> None:
    asked, name = client("explicit"), TEXT["model"]
    assert not asked.is_model_ready(name)
    asked.load_model(name)
    assert asked.is_model_ready(name)
    asked.unload_model(name)
    assert not asked.is_model_ready(name)
    refused(lambda: asked.load_model("unknown"), "404", "unknown")


@feature("load-closed")
def load_closed() -> None:
    client().load_model(MODEL)


@feature("load-config")
def load_config() -> None:
    client("explicit").load_model(TEXT["model"], config='{"backend": "onnxruntime"}')
