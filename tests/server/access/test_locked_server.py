"""A server with tokens, called over its port and over its gateway's socket: which calls it admits, and for how long."""

import functools

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.left_behind import NothingLeft
from kit.locked_servers import (
    ASKED,
    BODIES,
    DENIED,
    SIMPLE,
    check_each_method,
    check_revocation,
    front_statuses,
    locked_server,
    statuses_before_a_message,
)
from kit.tokens import bearer
from rnnserve.protos import health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import INFERENCE, METHODS
from rnnserve.protos.protocol_words import FRONT_EXCHANGE, TOKENS
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.transport import control

OK, UNAUTHENTICATED, DENIED_STATUS = grpc.StatusCode.OK, *DENIED
INFER = f"{INFERENCE}ModelInfer"
LARGE = request(SIMPLE, {"input": np.zeros((200, 50, 2), "f4")})


@pytest.fixture(scope="module")
def locked(repository, tmp_path_factory):
    with locked_server(repository, tmp_path_factory.mktemp("l")) as locked:
        yield locked


def refused(call, asked, token):
    with pytest.raises(grpc.RpcError) as error:
        call(asked, metadata=bearer(token))
    return error.value


@pytest.mark.parametrize("way", ["port", "socket"])
def test_each_method_answers_only_its_roles(locked, way):
    tokens = locked.tokens._asdict() | {"none": ""}
    kinds = ("none", "unknown", "expired", "infer", "metrics", "admin")
    ask = {kind: functools.partial(locked.ask, metadata=bearer(tokens[kind]), way=way) for kind in kinds}
    check_each_method(ask, SIMPLE)


def test_call_is_refused_before_its_message_arrives(locked):
    methods = [f"{INFERENCE}{name}" for name in ("ModelInfer", "ModelStreamInfer", "RepositoryModelLoad")]
    assert statuses_before_a_message(locked.channels["port"], methods) == {UNAUTHENTICATED}


def test_token_for_another_model_reveals_nothing(locked):
    stub, tokens = locked.stub(), locked.tokens
    assert stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(tokens.infer)).model_name == SIMPLE
    words = set()
    for _ in range(2):  # also what was recognized for another token
        for name in (SIMPLE, "no_such_model"):
            error = refused(stub.ModelInfer, request(name, {"input": np.zeros((1, 3, 2), "f4")}), tokens.elsewhere)
            words.add((error.code(), error.details()))
    assert len(words) == 1
    assert words.pop()[0] is DENIED_STATUS
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
        assert refused(getattr(stub, method), ASKED[method], tokens.elsewhere).code() is DENIED_STATUS
    elsewhere = bearer(tokens.elsewhere)
    assert not stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=elsewhere).models
    assert not stub.ModelStatistics(pb.ModelStatisticsRequest(), metadata=elsewhere).model_stats
    assert stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=bearer(tokens.infer)).models
    assert not stub.ModelReady(pb.ModelReadyRequest(), metadata=elsewhere).ready


def test_large_requests_and_streams_for_another_model_are_refused(locked):
    stub, elsewhere = locked.stub(), locked.tokens.elsewhere
    assert refused(stub.ModelInfer, LARGE, elsewhere).code() is DENIED_STATUS
    assert stub.ModelInfer(LARGE, metadata=bearer(locked.tokens.infer)).model_name == SIMPLE
    for asked in (LARGE, ASKED["ModelInfer"]):
        (answer,) = stub.ModelStreamInfer(iter([asked]), metadata=bearer(elsewhere))
        assert "another model" in answer.error_message
        assert not answer.infer_response.outputs


def test_requests_in_one_batch_use_their_own_tokens(locked):
    stub, tokens = locked.stub(), locked.tokens
    kinds = [tokens.infer, tokens.elsewhere, tokens.unknown, tokens.metrics, ""] * 40
    futures = [stub.ModelInfer.future(ASKED["ModelInfer"], metadata=bearer(token)) for token in kinds]
    expected = {tokens.infer: OK, tokens.elsewhere: DENIED_STATUS, tokens.metrics: DENIED_STATUS}
    for token, future in zip(kinds, futures, strict=True):
        future.exception()
        assert future.code() is expected.get(token, UNAUTHENTICATED)


def test_health_of_a_model_needs_a_token_for_it(locked):
    check = locked.channels["port"].unary_unary("/grpc.health.v1.Health/Check")
    named = health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()
    assert health_pb2.HealthCheckResponse.FromString(check(b"")).status == 1
    assert health_pb2.HealthCheckResponse.FromString(check(named, metadata=bearer(locked.tokens.infer))).status == 1
    unknown = health_pb2.HealthCheckRequest(service="no_such").SerializeToString()
    for body in (named, unknown):
        for method in ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"):
            assert locked.ask(method, [], body)[0] is UNAUTHENTICATED
            for token in (locked.tokens.elsewhere, locked.tokens.metrics):
                assert locked.ask(method, bearer(token), body)[0] is DENIED_STATUS
    listed = locked.ask("/grpc.health.v1.Health/List", bearer(locked.tokens.elsewhere))[2]
    assert SIMPLE not in health_pb2.HealthListResponse.FromString(listed).statuses


def test_server_metadata_reports_that_tokens_are_needed(locked):
    said = locked.stub().ServerMetadata(pb.ServerMetadataRequest(), metadata=bearer(locked.tokens.metrics))
    assert TOKENS in said.extensions


def test_gateway_requests_use_their_own_tokens(locked):
    tokens = locked.tokens
    kinds = ["", tokens.infer, tokens.elsewhere, tokens.metrics, tokens.expired]
    found = front_statuses(locked.channels["socket"], [dict(bearer(token)) for token in kinds], BODIES["ModelInfer"])
    unauthenticated, denied = (code.value[0] for code in DENIED)
    assert found == [unauthenticated, 0, denied, denied, unauthenticated]
    assert locked.ask(FRONT_EXCHANGE, bearer(tokens.admin), b"")[0] is grpc.StatusCode.UNIMPLEMENTED  # over the port


def test_refused_calls_leave_no_resources(locked):
    methods = [f"{INFERENCE}{name}" for name in ("ModelInfer", "ModelStreamInfer", "ModelConfig", "LogSettings")]
    kinds = [bearer(token) for token in ("", locked.tokens.unknown, locked.tokens.metrics, locked.tokens.elsewhere)]

    def ask_all():
        for method in methods:
            for metadata in kinds:
                assert locked.ask(method, metadata)[2] is None or method.endswith("ModelStreamInfer")

    ask_all()
    with NothingLeft():
        for _ in range(5):
            ask_all()


def test_streams_of_a_revoked_token_end(locked):
    check_revocation(locked)


def test_method_without_an_access_rule_is_a_start_error(repository, monkeypatch):
    methods = dict(METHODS)
    del methods[f"{INFERENCE}ModelConfig"]
    monkeypatch.setattr("rnnserve.protos.access_table.METHODS", methods)
    with pytest.raises(StartError, match=r"no access rule for /inference\.GRPCInferenceService/ModelConfig"):
        Server(Settings(repository, grpc_port=0, provider="cpu"))


def test_every_access_rule_names_a_registered_method(repository, monkeypatch):
    registered = []
    monkeypatch.setattr(control, "rows_missing", registered.extend)
    Server(Settings(repository, grpc_port=0, provider="cpu")).stop(0)
    assert sorted({*registered, INFER, f"{INFERENCE}ModelStreamInfer", FRONT_EXCHANGE}) == sorted(METHODS)
