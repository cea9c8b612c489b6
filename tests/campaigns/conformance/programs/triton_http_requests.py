"""tritonclient over HTTP: requests, sequences, and how they are sent."""

import functools
import secrets

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.arrays import drawn_walks, same, walk_batch
from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.triton_http_calls import (
    CLASSIFIER,
    MODEL,
    TEXT,
    client,
    inputs,
    refused,
    walk,
    wanted,
)


@feature("infer-json")
def infer_json() -> None:
    sent, logits = walk(binary=False)
    said = client().infer(MODEL, sent, outputs=wanted("logits", "h_n", binary=False))
    same(said.as_numpy("logits"), logits)
    assert all("data" in output for output in said.get_response()["outputs"])


@feature("infer-binary")
def infer_binary() -> None:
    sent, logits = walk()
    said = client().infer(MODEL, sent)
    same(said.as_numpy("logits"), logits)
    assert said.get_response()["model_version"] == "1"
    for output in said.get_response()["outputs"]:
        assert output["parameters"]["binary_data_size"] > 0


@feature("infer-integers")
def infer_integers() -> None:
    asked = client()
    for index, (row, logits) in enumerate(zip(TEXT["rows"], TEXT["logits"], strict=True)):
        sent = inputs(np.array([row], np.int64), "tokens", "INT64", binary=index % 2 == 0)
        same(asked.infer(TEXT["model"], sent).as_numpy("logits"), [logits])


@feature("walks")
def walks() -> None:
    """A request each. Binary and JSON by turns, both ways."""
    drawn = drawn_walks()
    calls = [
        {
            "model_name": drawn.model,
            "inputs": inputs(points[None], binary=index % 2 == 0),
            "outputs": wanted("logits", binary=index % 3 != 0),
        }
        for index, points in enumerate(drawn.walks)
    ]
    answers = client().infer_all(calls)
    drawn.check([said.as_numpy("logits")[0] for said in answers])


@feature("infer-async")
def infer_async() -> None:
    count, known = 200, len(CLASSIFIER["walks"])
    calls = [
        {"model_name": MODEL, "inputs": walk(index % known)[0], "request_id": str(index)} for index in range(count)
    ]
    for index, said in enumerate(client().infer_together(calls)):
        assert said.get_response()["id"] == str(index)
        same(said.as_numpy("logits"), walk(index % known)[1])


@feature("outputs")
def outputs() -> None:
    asked = client()
    for names in (["logits"], ["h_n", "logits"]):
        said = asked.infer(MODEL, walk()[0], outputs=wanted(*names))
        assert [output["name"] for output in said.get_response()["outputs"]] == names


@feature("id")
def request_id() -> None:
    assert client().infer(MODEL, walk()[0], request_id="mine").get_response()["id"] == "mine"


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
        asked_for = [triton.InferRequestedOutput("logits", binary_data=binary, class_count=1)]
        found = client().infer(MODEL, sent, outputs=asked_for).as_numpy("logits")[0][0]
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
        client().infer(MODEL, walk()[0], parameters={"sequence_id": 3})  # reserved: refused by the client itself
    except InferenceServerException:
        return
    raise AssertionError("the client takes a reserved parameter")


@feature("headers")
def headers() -> None:
    """A request without an id is answered with that of its header."""
    said = client().infer(MODEL, walk()[0], headers={"X-Request-Id": "mine"})
    assert said.get_response()["id"] == "mine"


@feature("error")
def errors() -> None:
    asked = client()
    for binary in (True, False):
        wrong = inputs(np.zeros((1, 2, 3), np.float32), binary=binary)
        refused(functools.partial(asked.infer, MODEL, wrong), "400", '"input"', "features")
    refused(lambda: asked.infer("unknown", walk()[0]), "404", "unknown")
    refused(lambda: asked.infer(MODEL, walk()[0], model_version="7"), "404", "7")


@feature("compressed-requests")
def compressed_requests() -> None:
    points, lengths, logits = walk_batch(64)
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            sent = inputs(points, binary=binary) + inputs(lengths, "lengths", "INT64", binary=binary)
            said = client().infer(MODEL, sent, request_compression_algorithm=algorithm)
            same(said.as_numpy("logits"), logits)


@feature("tls")
def tls() -> None:
    same(client("tls").infer(MODEL, walk()[0]).as_numpy("logits"), walk()[1])


@feature("sequence")
def sequence() -> None:
    asked, points = client(), CLASSIFIER["walks"][1]
    for named in (70041, "by text"):
        for step, values in enumerate(points):
            said = asked.infer(
                MODEL,
                inputs(np.array([[values]], np.float32)),
                sequence_id=named,
                sequence_start=step == 0,
                sequence_end=step == len(points) - 1,
            )
        same(said.as_numpy("logits"), [CLASSIFIER["logits"][1]])


@feature("sequence-key")
def sequence_key() -> None:
    points, key = CLASSIFIER["walks"][2], secrets.token_urlsafe()
    for step, values in enumerate(points):
        asked = client()
        said = asked.infer(
            MODEL,
            inputs(np.array([[values]], np.float32)),
            sequence_id=70042,
            sequence_start=step == 0,
            sequence_end=step == len(points) - 1,
            parameters={"sequence_key": key},
        )
        asked.close()
    same(said.as_numpy("logits"), [CLASSIFIER["logits"][2]])


@feature("carried")
def carried() -> None:
    states: list[triton.InferInput] = []
    for values in CLASSIFIER["walks"][2]:
        asked = client()
        said = asked.infer(MODEL, inputs(np.array([[values]], np.float32)) + states)
        states = inputs(said.as_numpy("h_n"), "h_0")
        asked.close()
    same(said.as_numpy("logits"), [CLASSIFIER["logits"][2]])
