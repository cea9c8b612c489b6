"""tritonclient over gRPC."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import auth, service_pb2, service_pb2_grpc

from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.triton_calls import (
    CLASSIFIER,
    MODEL,
    TEXT,
    as_json,
    client,
    inputs,
    refused,
    run_as,
    same,
    walk,
    walk_batch,
    wanted,
)
from campaigns.conformance.programs.triton_features import take_steps

WAIT = 20.0
"""Seconds."""


def connect(server: str, **more: Any) -> triton.InferenceServerClient:
    """Connect to one of the plan's servers."""
    tls = {"ssl": True, "root_certificates": PLAN["ca"]} if server == "tls" else {}
    return triton.InferenceServerClient(PLAN["servers"][server], **tls, **more)


def long_walks() -> np.ndarray:
    """Walks that take long to compute: (batch, sequence, 2) float32."""
    return np.zeros((500, 4096, 2), np.float32)


@contextmanager
def stream(asked: Any, **more: Any) -> Iterator["queue.SimpleQueue[tuple[Any, Any]]"]:
    """Open a stream whose callback puts (result, error) into a queue."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    asked.start_stream(lambda result, error: answers.put((result, error)), **more)
    try:
        yield answers
    finally:
        asked.stop_stream()


@feature("infer-raw")
def infer() -> None:  # simple_grpc_infer_client.py
    sent, logits = walk()
    result = client().infer(MODEL, sent)
    same(result.as_numpy("logits"), logits)
    assert result.get_response().model_version == "1"
    assert result.get_output("h_n").datatype == "FP32"


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


@feature("lengths")
def padded() -> None:  # reuse_infer_objects_client.py: a request's objects are used again
    asked = client()
    points, lengths, logits = walk_batch(4)
    sent = inputs(points) + inputs(lengths, "lengths", "INT64")
    asked_for = wanted("logits")
    for _ in range(3):
        same(asked.infer(MODEL, sent, outputs=asked_for).as_numpy("logits"), logits)


@feature("headers")
def headers() -> None:
    asked = client()
    asked.register_plugin(auth.BasicAuth("user", "password"))
    same(asked.infer(MODEL, walk()[0], headers={"my-header": "a"}).as_numpy("logits"), walk()[1])
    assert asked.is_server_live(headers={"my-header": "a"})


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
    same(client().infer(MODEL, sent, compression_algorithm="gzip").as_numpy("logits"), logits)
    asked = client()
    with stream(asked, compression_algorithm="gzip") as answers:
        asked.async_stream_infer(MODEL, walk()[0])
        same(answers.get(timeout=WAIT)[0].as_numpy("logits"), walk()[1])


@feature("deflate")
def deflate() -> None:
    same(client().infer(MODEL, walk()[0], compression_algorithm="deflate").as_numpy("logits"), walk()[1])


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


@feature("stream")
def streaming() -> None:
    asked, count = client(), 50
    with stream(asked, stream_timeout=WAIT) as answers:
        for index in range(count):
            asked.async_stream_infer(MODEL, walk(index % len(CLASSIFIER["walks"]))[0], request_id=str(index))
        for index in range(count):
            result, error = answers.get(timeout=WAIT)
            assert error is None, error
            assert result.get_response().id == str(index)
            same(result.as_numpy("logits"), walk(index % len(CLASSIFIER["walks"]))[1])


@feature("stream-final")
def stream_final() -> None:  # simple_grpc_custom_repeat.py
    asked = client()
    with stream(asked) as answers:
        for is_wanted in (False, True):
            asked.async_stream_infer(MODEL, walk()[0], enable_empty_final_response=is_wanted)
            result, error = answers.get(timeout=WAIT)
            assert error is None, error
            assert result.get_response().parameters["triton_final_response"].bool_param
            same(result.as_numpy("logits"), walk()[1])


@feature("stream-error")
def stream_error() -> None:
    asked = client()
    with stream(asked) as answers:
        asked.async_stream_infer("unknown", walk()[0])
        asked.async_stream_infer(MODEL, walk()[0])
        _, error = answers.get(timeout=WAIT)
        assert error is not None
        assert "unknown" in error.message()
        result, error = answers.get(timeout=WAIT)
        assert error is None, error
        same(result.as_numpy("logits"), walk()[1])


@feature("stream-end")
def stream_end() -> None:
    asked = client()
    with stream(asked, headers={"triton_grpc_error": "true"}) as answers:
        asked.async_stream_infer("unknown", walk()[0])
        _, error = answers.get(timeout=WAIT)
        assert error.status() == "StatusCode.NOT_FOUND", error


@feature("sequence-stream")
def sequence_stream() -> None:  # simple_grpc_sequence_stream_infer_client.py
    asked = client()
    walks = CLASSIFIER["walks"][:2]
    named = [70001, "by text"]
    with stream(asked) as answers:
        for step in range(max(len(points) for points in walks)):
            for index, points in enumerate(walks):
                if step < len(points):
                    asked.async_stream_infer(
                        MODEL,
                        inputs(np.array([[points[step]]], np.float32)),
                        request_id=f"{index}_{step}",
                        sequence_id=named[index],
                        sequence_start=step == 0,
                        sequence_end=step == len(points) - 1,
                    )
        for _ in range(sum(len(points) for points in walks)):
            result, error = answers.get(timeout=WAIT)
            assert error is None, error
            index, step = map(int, result.get_response().id.split("_"))
            if step == len(walks[index]) - 1:
                same(result.as_numpy("logits"), [CLASSIFIER["logits"][index]])


@feature("sequence-unary")
def sequence_unary() -> None:
    take_steps(client(), 70002)


@feature("memory-status")
def memory_status() -> None:
    asked = client()
    assert not asked.get_system_shared_memory_status(**as_json())
    assert not asked.get_cuda_shared_memory_status(**as_json())
    asked.unregister_system_shared_memory()
    asked.unregister_cuda_shared_memory()


@feature("memory-register")
def memory_register() -> None:
    asked = client()
    refused(lambda: asked.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64), "501")
    asked.register_system_shared_memory("region", "/region", 64)


@feature("trace-settings")
def trace_settings() -> None:
    asked = client()
    for named in ((), (MODEL,)):
        said = asked.get_trace_settings(*named, **as_json())
        assert said.get("settings", said)["trace_level"] in (["OFF"], {"value": ["OFF"]})


@feature("trace-change")
def trace_change() -> None:
    client().update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


@feature("log-settings")
def log_settings() -> None:
    said = client().get_log_settings(**as_json())
    assert said.get("settings", said)["log_error"] in (True, {"bool_param": True})


@feature("log-change")
def log_change() -> None:
    client().update_log_settings({"log_verbose_level": 3})


@feature("infer-typed")
def infer_typed() -> None:  # grpc_explicit_int_content_client.py, which uses the stubs in the package
    request = service_pb2.ModelInferRequest(model_name=TEXT["model"])
    row = TEXT["rows"][0]
    request.inputs.add(name="tokens", datatype="INT64", shape=[1, len(row)]).contents.int64_contents.extend(row)
    with grpc.insecure_channel(PLAN["servers"]["plain"]) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    same(triton.InferResult(answer).as_numpy("logits"), [TEXT["logits"][0]])


if __name__ == "__main__":
    run_as(triton, connect)
