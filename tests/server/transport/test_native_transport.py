"""The native transport: sequences, limits, access, a stop without lost answers, and unsupported options."""

import contextlib
import functools
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


def refusal(stub, asked, **call):
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(asked, timeout=10, **call)
    return raised.value


def test_streams_and_calls_of_one_sequence_have_the_bits_of_the_whole(native):
    inputs = walk(12)
    whole = raw(native.stub.ModelInfer(request(SIMPLE, {"input": inputs}, OUTPUTS)))
    assert raw(answers_of(native.stub, in_parts(inputs, [5, 7], 7))[-1].infer_response) == whole
    assert raw([native.stub.ModelInfer(part) for part in in_parts(inputs, [2, 10], "seven")][-1]) == whole


def test_size_of_requests_is_limited(repository):
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
