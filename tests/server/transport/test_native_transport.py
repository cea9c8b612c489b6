"""The native transport answers as the fast path does, ends without losing an answer, and refuses what it can't do."""

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.locked_servers import check_each_method, locked_server
from kit.sequence_requests import SIMPLE, answers_of, in_parts, raw, walk
from kit.served import new_channel, served
from kit.tokens import bearer
from kit.waiting import until
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.protocol_words import FRONT_EXCHANGE
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings

OUTPUTS = ["logits", "h_n"]


@pytest.fixture(scope="module")
def native(repository):
    with served(repository, transport="native") as server:
        yield server


@pytest.fixture(scope="module")
def fast(repository):
    with served(repository) as server:
        yield server


def refusal(stub, asked, **call):
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(asked, timeout=10, **call)
    return raised.value


def test_answers_have_the_bytes_of_the_fast_path(native, fast):
    rng = np.random.default_rng(0)
    for steps in (1, 4, 4, 60, 3000):
        asked = request(SIMPLE, {"input": rng.normal(size=(2, steps, 2)).astype(np.float32)}, OUTPUTS)
        asked.id = f"request {steps}"
        assert native.stub.ModelInfer(asked) == fast.stub.ModelInfer(asked)


@pytest.mark.parametrize(
    "inputs", [{"input": np.zeros((1, 3, 5), np.float32)}, {"input": np.zeros((1, 0, 2), np.float32)}, {}]
)
def test_refusals_have_the_status_words_and_details_of_the_fast_path(native, fast, inputs):
    said = [
        refusal(stub, request(SIMPLE, inputs), metadata=[("x-request-id", "mine")]) for stub in (native.stub, fast.stub)
    ]
    assert said[0].code() is said[1].code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said[0].details() == said[1].details()
    assert set(said[0].trailing_metadata()) == set(said[1].trailing_metadata())
    assert ("x-request-id", "mine") in said[0].trailing_metadata()


def test_streams_and_calls_of_one_sequence_have_the_bits_of_the_whole(native):
    inputs = walk(12)
    whole = raw(native.stub.ModelInfer(request(SIMPLE, {"input": inputs}, OUTPUTS)))
    assert raw(answers_of(native.stub, in_parts(inputs, [5, 7], 7))[-1].infer_response) == whole
    assert raw([native.stub.ModelInfer(part) for part in in_parts(inputs, [2, 10], "seven")][-1]) == whole


def test_many_callers_get_their_own_answers(native, fast):
    rng = np.random.default_rng(1)
    asked = [
        request(SIMPLE, {"input": rng.normal(size=(1, int(steps), 2)).astype(np.float32)}, OUTPUTS)
        for steps in rng.integers(1, 64, 400)
    ]
    with ThreadPoolExecutor(32) as callers:
        found = list(callers.map(native.stub.ModelInfer, asked))
    assert found == [fast.stub.ModelInfer(each) for each in asked]


def test_request_of_many_bytes_is_limited(repository):
    with served(repository, transport="native", max_message_bytes=1 << 20) as server:
        large = request(SIMPLE, {"input": np.zeros((1, 200_000, 2), np.float32)})
        assert "--max-message-bytes" in refusal(server.stub, large).details()


@pytest.mark.parametrize("way", ["port", "socket"])
def test_each_method_answers_only_its_roles(repository, tmp_path, way):
    with locked_server(repository, tmp_path, transport="native") as locked:
        tokens = locked.tokens._asdict() | {"none": ""}
        kinds = ("none", "unknown", "expired", "infer", "metrics", "admin")
        ask = {kind: functools.partial(locked.ask, metadata=bearer(tokens[kind]), way=way) for kind in kinds}
        check_each_method(ask, SIMPLE)


def test_gateway_method_is_unimplemented_for_other_clients(native):
    with grpc.insecure_channel(native.address) as channel:
        exchange = channel.stream_stream(FRONT_EXCHANGE)
        with pytest.raises(grpc.RpcError) as raised:
            next(exchange(iter([b"x"]), metadata=(("x", "y"),), timeout=10))
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_stopping_server_answers_the_calls_in_flight(repository):
    asked = request(SIMPLE, {"input": walk(64)}, OUTPUTS)
    with contextlib.ExitStack() as client:
        with served(repository, transport="native") as server:
            channel = client.enter_context(new_channel(server.port))
            stub = rpc.GRPCInferenceServiceStub(channel)
            calls = [stub.ModelInfer.future(asked, timeout=30) for _ in range(500)]
            until(lambda: calls[0].done())
        codes = {call.code() for call in calls}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert grpc.StatusCode.OK in codes


def test_unsupported_options_are_refused():
    for options, words in (
        ({"tls_certificate": Path("c"), "tls_key": Path("k")}, "no TLS"),
        ({"max_connection_age": 5.0}, "--max-connection-age"),
        ({"plain": True}, "exclude each other"),
    ):
        with pytest.raises(StartError, match=words):
            Settings(transport="native", **options)
