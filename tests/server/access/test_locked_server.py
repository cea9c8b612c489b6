"""A server that asks for tokens: every method, on both transports, over its port and over its front's socket."""

import threading

import grpc
import numpy as np
import pytest

from kit.any_method import statuses_before_a_message
from kit.inference_requests import request
from kit.left_behind import NothingLeft
from kit.locked_servers import ASKED, BODIES, DENIED, SIMPLE, locked_server
from kit.tokens import bearer
from rnnserve.protos import front_pb2, health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import INFERENCE, METHODS, Need
from rnnserve.protos.protocol_words import FRONT_EXCHANGE, TOKENS
from rnnserve.server import Server, Settings
from rnnserve.server.errors import StartError
from rnnserve.server.transport import grpc_server
from rnnserve.server.transport.call_access import check_rows


@pytest.fixture(scope="module", params=["lane", "public"])
def locked(repository, request, tmp_path_factory):
    with locked_server(repository, tmp_path_factory.mktemp("l"), request.param) as locked:
        yield locked


def who_may(method, kind):
    need = METHODS[method]
    return need is Need.HEALTH or (need.value is not None and kind in need.value)


@pytest.mark.parametrize("way", ["port", "socket"])
@pytest.mark.parametrize("method", [name for name in METHODS if name != FRONT_EXCHANGE])
def test_no_method_answers_who_may_not(locked, method, way):
    tokens = locked.tokens
    open_to_all = METHODS[method] is Need.HEALTH
    words = set()
    for token in ("", tokens.unknown, tokens.expired):
        code, said, _ = locked.ask(method, bearer(token), way=way)
        assert (code not in DENIED) if open_to_all else code is grpc.StatusCode.UNAUTHENTICATED, (method, token, code)
        words.add(said)
    for kind in ("infer", "metrics", "admin"):
        code, said, _ = locked.ask(method, bearer(getattr(tokens, kind)), way=way)
        if who_may(method, kind):
            assert code not in DENIED, (method, kind, code, said)
        else:
            assert code is grpc.StatusCode.PERMISSION_DENIED, (method, kind, code)
            assert SIMPLE not in said
    assert len(words) == 1
    assert open_to_all or SIMPLE not in words.pop()


def test_refused_before_the_message_arrives(locked):
    methods = [f"{INFERENCE}{name}" for name in ("ModelInfer", "ModelStreamInfer", "RepositoryModelLoad")]
    assert statuses_before_a_message(locked.channels["port"], methods) == {grpc.StatusCode.UNAUTHENTICATED}


@pytest.mark.parametrize(
    "method",
    [
        f"/{INFERENCE}ModelInfer",
        f"{INFERENCE}modelinfer",
        f"{INFERENCE}ModelInfer/",
        f"{INFERENCE}ModelInfer?x",
        f"{INFERENCE}%4dodelInfer",
        f"{INFERENCE}./ModelInfer",
        INFERENCE.upper() + "ModelInfer",
        "/x/../inference.GRPCInferenceService/ModelInfer",
        "/grpc.health.v1.Health/../inference.GRPCInferenceService/ModelInfer",
    ],
)
def test_other_spellings_lead_nowhere(locked, method):
    for token in ("", locked.tokens.admin):
        code, _, answer = locked.ask(method, bearer(token), BODIES["ModelInfer"])
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert answer is None


def test_a_token_for_another_model(locked):
    metadata = bearer(locked.tokens.elsewhere)
    stub = locked.stub()
    answered = stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(locked.tokens.infer))
    assert answered.model_name == SIMPLE
    said = set()
    for _ in range(2):  # what was recognised for another token, too
        for name in (SIMPLE, "no_such_model"):
            asked = request(name, {"input": np.zeros((1, 3, 2), "f4")})
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(asked, metadata=metadata)
            said.add((refused.value.code(), refused.value.details()))
    assert len(said) == 1
    assert said.pop()[0] is grpc.StatusCode.PERMISSION_DENIED
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
        with pytest.raises(grpc.RpcError) as refused:
            getattr(stub, method)(ASKED[method], metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=metadata).models
    assert not stub.ModelStatistics(pb.ModelStatisticsRequest(), metadata=metadata).model_stats
    assert stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=bearer(locked.tokens.infer)).models
    assert not stub.ModelReady(pb.ModelReadyRequest(), metadata=metadata).ready


def test_of_requests_together_each_goes_by_its_own_token(locked):
    stub, tokens = locked.stub(), locked.tokens
    kinds = [tokens.infer, tokens.elsewhere, tokens.unknown, tokens.metrics, ""] * 40
    futures = [stub.ModelInfer.future(ASKED["ModelInfer"], metadata=bearer(token)) for token in kinds]
    expected = {
        tokens.infer: grpc.StatusCode.OK,
        tokens.elsewhere: grpc.StatusCode.PERMISSION_DENIED,
        tokens.metrics: grpc.StatusCode.PERMISSION_DENIED,
    }
    for token, future in zip(kinds, futures, strict=True):
        future.exception()
        assert future.code() is expected.get(token, grpc.StatusCode.UNAUTHENTICATED)


def test_large_requests_and_streams_for_another_model(locked):
    large = request(SIMPLE, {"input": np.zeros((200, 50, 2), "f4")})
    stub = locked.stub()
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(large, metadata=bearer(locked.tokens.elsewhere))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert stub.ModelInfer(large, metadata=bearer(locked.tokens.infer)).model_name == SIMPLE
    for asked in (large, ASKED["ModelInfer"]):
        (answer,) = stub.ModelStreamInfer(iter([asked]), metadata=bearer(locked.tokens.elsewhere))
        assert "another model" in answer.error_message
        assert not answer.infer_response.outputs


def test_health_of_models_is_for_who_may_ask_them(locked):
    check = locked.channels["port"].unary_unary("/grpc.health.v1.Health/Check")
    named = health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()
    assert health_pb2.HealthCheckResponse.FromString(check(b"")).status == 1
    assert health_pb2.HealthCheckResponse.FromString(check(named, metadata=bearer(locked.tokens.infer))).status == 1
    unknown = health_pb2.HealthCheckRequest(service="no_such").SerializeToString()
    for body in (named, unknown):
        for method in ("Check", "Watch"):
            method = f"/grpc.health.v1.Health/{method}"
            assert locked.ask(method, [], body)[0] is grpc.StatusCode.UNAUTHENTICATED
            for token in (locked.tokens.elsewhere, locked.tokens.metrics):
                assert locked.ask(method, bearer(token), body)[0] is grpc.StatusCode.PERMISSION_DENIED
    listed = locked.ask("/grpc.health.v1.Health/List", bearer(locked.tokens.elsewhere))[2]
    assert SIMPLE not in health_pb2.HealthListResponse.FromString(listed).statuses


def test_it_says_that_it_asks(locked):
    said = locked.stub().ServerMetadata(pb.ServerMetadataRequest(), metadata=bearer(locked.tokens.metrics))
    assert TOKENS in said.extensions


def test_each_request_of_a_front_goes_by_its_own_token(locked):
    if locked.ask(FRONT_EXCHANGE, [], b"", way="socket")[0] is grpc.StatusCode.UNIMPLEMENTED:
        return  # the public transport has no such method
    tokens = locked.tokens
    message = front_pb2.FrontRequests()
    kinds = ["", tokens.infer, tokens.elsewhere, tokens.metrics, tokens.expired]
    for number, token in enumerate(kinds, 1):
        entry = message.entries.add(number=number, request=BODIES["ModelInfer"], timeout=5.0, peer="ipv4:10.0.0.1:1")
        for key, value in bearer(token):
            entry.headers[key] = value
    over = threading.Event()

    def messages():
        yield message.SerializeToString()
        over.wait(10)

    answers = {}
    call = locked.channels["socket"].stream_stream(FRONT_EXCHANGE)(messages(), timeout=10)
    for said in call:
        answers |= {entry.number: entry.status for entry in front_pb2.FrontAnswers.FromString(said).entries}
        if len(answers) == len(kinds):
            over.set()
    unauthenticated, denied = (code.value[0] for code in DENIED)
    assert [answers[number] for number in range(1, 6)] == [unauthenticated, 0, denied, denied, unauthenticated]
    assert locked.ask(FRONT_EXCHANGE, bearer(tokens.admin), b"")[0] is grpc.StatusCode.UNIMPLEMENTED  # over the port


def test_what_is_refused_leaves_nothing(locked):
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


def test_a_method_without_a_row_stops_the_start(repository, tmp_path, monkeypatch):
    methods = dict(METHODS)
    del methods[f"{INFERENCE}ModelConfig"]
    check_rows(METHODS)
    monkeypatch.setattr("rnnserve.protos.access_table.METHODS", methods)
    with pytest.raises(StartError, match=r"nothing says who may call /inference\.GRPCInferenceService/ModelConfig"):
        Server(Settings(repository, grpc_port=0, provider="cpu"))


def test_each_row_is_of_a_method(repository, monkeypatch):
    registered = []
    monkeypatch.setattr(grpc_server, "check_rows", registered.extend)
    Server(Settings(repository, grpc_port=0, provider="cpu")).stop(0)
    assert sorted({*registered, FRONT_EXCHANGE}) == sorted(METHODS)
