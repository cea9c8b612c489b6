"""HTTP by hand: requests and their answers, sequences, and how they are sent."""

import gzip
import json
import secrets
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from campaigns.conformance.programs.arrays import drawn_walks, same, walk_batch
from campaigns.conformance.programs.http_by_hand import (
    CLASSIFIER,
    INFER,
    MODEL,
    TEXT,
    Session,
    asked,
    new_session,
    output,
    refused,
    tensor,
    walk,
)
from campaigns.conformance.programs.reporting import feature

_LENGTH = "inference-header-content-length"


@feature("infer-json")
def infer_json() -> None:
    with new_session() as session:
        said = session.post(INFER, asked(walk()))
        same(output(said), [CLASSIFIER["logits"][0]])
        flat = tensor(walk()) | {"data": walk().reshape(-1).tolist()}
        same(output(session.post(INFER, {"inputs": [flat]})), [CLASSIFIER["logits"][0]])


@feature("infer-binary")
def infer_binary() -> None:
    data = walk().tobytes()
    described = tensor(walk()) | {"parameters": {"binary_data_size": len(data)}}
    del described["data"]
    head = json.dumps({"inputs": [described], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]})
    sent = Session().send("POST", INFER, head.encode() + data, Inference_Header_Content_Length=str(len(head)))
    assert sent.headers["content-type"] == "application/octet-stream"
    length = int(sent.headers[_LENGTH])
    (found,) = json.loads(sent.content[:length])["outputs"]
    assert found["parameters"]["binary_data_size"] == len(sent.content) - length
    same(np.frombuffer(sent.content[length:], "<f4").reshape(found["shape"]), [CLASSIFIER["logits"][0]])


@feature("infer-integers")
def infer_integers() -> None:
    with new_session() as session:
        for row, logits in zip(TEXT["rows"], TEXT["logits"], strict=True):
            body = asked(np.array([row], np.int64), names=("tokens",))
            same(output(session.post(f"/v2/models/{TEXT['model']}/infer", body)), [logits])


@feature("walks")
def walks() -> None:
    drawn = drawn_walks()
    outputs = [{"name": "logits"}]
    with new_session() as session:
        path = f"/v2/models/{drawn.model}/infer"
        drawn.check([output(session.post(path, asked(points[None], outputs=outputs)))[0] for points in drawn.walks])


@feature("infer-async")
def infer_async() -> None:
    known = len(CLASSIFIER["walks"])

    def some(first: int) -> None:
        with new_session() as session:
            for index in range(first, first + 25):
                said = session.post(INFER, asked(walk(index % known), id=str(index)))
                assert said["id"] == str(index)
                same(output(said), [CLASSIFIER["logits"][index % known]])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(some, range(0, 200, 25)))


@feature("outputs")
def outputs() -> None:
    for names in (["logits"], ["h_n", "logits"]):
        said = Session().post(INFER, asked(walk(), outputs=[{"name": name} for name in names]))
        assert [each["name"] for each in said["outputs"]] == names


@feature("id")
def request_id() -> None:
    assert Session().post(INFER, asked(walk(), id="mine"))["id"] == "mine"
    assert Session().post(INFER, asked(walk()))["id"]


@feature("batch")
def batch() -> None:
    with new_session() as session:
        for rows in (1, 2, 7, 64):
            points, lengths, logits = walk_batch(rows)
            same(output(session.post(INFER, asked(points, lengths))), logits)


@feature("classification")
def classification() -> None:
    wanted = [{"name": "logits", "parameters": {"classification": 1}}]
    (found,) = Session().post(INFER, asked(walk(), outputs=wanted))["outputs"]
    value, index, label = found["data"][0].split(":")
    best = int(np.argmax(CLASSIFIER["logits"][0]))
    assert (found["datatype"], int(index), label) == ("BYTES", best, CLASSIFIER["labels"][best])
    same(float(value), CLASSIFIER["logits"][0][best])


@feature("timeout")
def timeout() -> None:
    session = Session()
    session.post(INFER, asked(walk(), parameters={"timeout": 10_000_000}))
    short = asked(walk(), parameters={"timeout": 1})
    refused(lambda: session.post(INFER, short), "503", "Request timeout expired")


@feature("priority")
def priority() -> None:
    same(output(Session().post(INFER, asked(walk(), parameters={"priority": 1}))), [CLASSIFIER["logits"][0]])


@feature("parameters")
def parameters() -> None:
    mine = {"text": "a", "number": 3, "flag": True, "real": 0.5}
    same(output(Session().post(INFER, asked(walk(), parameters=mine))), [CLASSIFIER["logits"][0]])
    reserved = asked(walk(), parameters={"triton_mine": 1})
    refused(lambda: Session().post(INFER, reserved), "400", "triton_mine")


@feature("headers")
def headers() -> None:
    sent = Session().send("GET", "/v2", X_Request_Id="mine")
    assert sent.headers["x-request-id"] == "mine"
    assert Session().send("GET", "/v2").headers["x-request-id"]


@feature("error")
def errors() -> None:
    session = Session()
    wrong = asked(np.zeros((1, 2, 3), np.float32))
    refused(lambda: session.post(INFER, wrong), "400", '"input"', "features")
    refused(lambda: session.post("/v2/models/unknown/infer", asked(walk())), "404", "unknown")
    refused(lambda: session.post(f"/v2/models/{MODEL}/versions/7/infer", asked(walk())), "404", "7")
    refused(lambda: session.send("POST", INFER, b"{"), "400", "not JSON")
    refused(lambda: session.get("/v2/nothing"), "404")
    refused(lambda: session.get(INFER), "405")


@feature("compressed-requests")
def compressed_requests() -> None:
    points, lengths, logits = walk_batch(64)
    body = json.dumps(asked(points, lengths)).encode()
    for coding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        sent = Session().send("POST", INFER, compress(body), Content_Encoding=coding)
        same(output(json.loads(sent.content)), logits)


@feature("tls")
def tls() -> None:
    same(output(Session("tls").post(INFER, asked(walk()))), [CLASSIFIER["logits"][0]])


def step(session: Session, at: int, of: int, **parameters: Any) -> np.ndarray:
    """A step of one of the walks, in a sequence."""
    points = walk(of)[:, at : at + 1]
    said = {"sequence_start": at == 0, "sequence_end": at == walk(of).shape[1] - 1, **parameters}
    return output(session.post(INFER, asked(points, parameters=said)))


@feature("sequence")
def sequence() -> None:
    for named in (70051, "by text"):
        with new_session() as session:
            for at in range(walk(2).shape[1]):
                logits = step(session, at, 2, sequence_id=named)
        same(logits, [CLASSIFIER["logits"][2]])


@feature("sequence-key")
def sequence_key() -> None:
    key = secrets.token_urlsafe()
    for at in range(walk(2).shape[1]):
        with new_session() as session:
            logits = step(session, at, 2, sequence_id=70052, sequence_key=key)
    same(logits, [CLASSIFIER["logits"][2]])


@feature("carried")
def carried() -> None:
    states: list[dict[str, Any]] = []
    for at in range(walk(2).shape[1]):
        with new_session() as session:
            said = session.post(INFER, {"inputs": [tensor(walk(2)[:, at : at + 1]), *states]})
        states = [tensor(output(said, "h_n"), "h_0")]
    same(output(said), [CLASSIFIER["logits"][2]])
