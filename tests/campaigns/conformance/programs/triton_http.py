"""tritonclient over HTTP."""

import secrets
import ssl
from typing import Any

import numpy as np
import tritonclient.http as triton

from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.triton_calls import (
    CLASSIFIER,
    MODEL,
    client,
    inputs,
    run_as,
    same,
    walk,
    walk_batch,
    wanted,
)
from campaigns.conformance.programs.triton_features import take_steps

_SECONDS = 60.0


def connect(server: str) -> Any:
    """Connect to one of the plan's servers."""
    address, ca = PLAN["http"][server], PLAN["ca"] if server == "tls" else ""
    tls = {"ssl": True, "ssl_options": {"ca_certs": ca}, "ssl_context_factory": ssl.create_default_context}
    return triton.InferenceServerClient(
        address, concurrency=32, network_timeout=_SECONDS, connection_timeout=_SECONDS, **(tls if ca else {})
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


@feature("infer-async")
def infer_async() -> None:
    asked, known = client(), len(CLASSIFIER["walks"])
    sent = [asked.async_infer(MODEL, walk(index % known)[0], request_id=str(index)) for index in range(200)]
    for index, said in enumerate(each.get_result(timeout=_SECONDS) for each in sent):
        assert said.get_response()["id"] == str(index)
        same(said.as_numpy("logits"), walk(index % known)[1])


@feature("headers")
def headers() -> None:
    """If a request has no id, the response has one in its header."""
    said = client().infer(MODEL, walk()[0], headers={"X-Request-Id": "mine"})
    assert said.get_response()["id"] == "mine"


@feature("compressed-requests")
def compressed_requests() -> None:
    points, lengths, logits = walk_batch(64)
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            sent = inputs(points, binary=binary) + inputs(lengths, "lengths", "INT64", binary=binary)
            said = client().infer(MODEL, sent, request_compression_algorithm=algorithm)
            same(said.as_numpy("logits"), logits)


@feature("sequence")
def sequence() -> None:
    for named in (70041, "by text"):
        take_steps(client(), named)


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
    states: list[Any] = []
    for values in CLASSIFIER["walks"][2]:
        asked = client()
        said = asked.infer(MODEL, inputs(np.array([[values]], np.float32)) + states)
        states = inputs(said.as_numpy("h_n"), "h_0")
        asked.close()
    same(said.as_numpy("logits"), [CLASSIFIER["logits"][2]])


if __name__ == "__main__":
    run_as(triton, connect)
