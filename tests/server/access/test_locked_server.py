"""A server that asks for tokens: every method, on both transports, over its port and over its front's socket."""

import contextlib
import os
import threading
import time

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rnnserve.client import Client, ResourceExhausted
from rnnserve.protos import front_pb2, health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.access_table import INFERENCE, METHODS, Need
from rnnserve.protos.protocol_words import FRONT_EXCHANGE, TOKENS
from rnnserve.server import Server, Settings
from rnnserve.server.access.token_writing import add_token, revoke_token
from rnnserve.server.errors import StartError
from rnnserve.server.transport import grpc_server
from rnnserve.server.transport.call_access import check_rows
from support.any_method import ask_any, statuses_before_a_message
from support.inference_requests import request
from support.left_behind import NothingLeft
from support.sequence_requests import eventually, raw, step, walk
from support.tokens import add_limited, bearer, tokens_in, write_whole
from support.waiting import until

SIMPLE = "direction_simple"
DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
ASKED = {
    "ModelInfer": request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")}),
    "ModelStreamInfer": request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")}),
    "ModelReady": pb.ModelReadyRequest(name=SIMPLE),
    "ModelMetadata": pb.ModelMetadataRequest(name=SIMPLE),
    "ModelConfig": pb.ModelConfigRequest(name=SIMPLE),
    "ModelStatistics": pb.ModelStatisticsRequest(name=SIMPLE),
}
BODIES = {name: message.SerializeToString() for name, message in ASKED.items()}


class Locked:
    """A server, the channels to it, and the tokens of its file."""

    def __init__(self, server, tokens, channels):
        self.server, self.tokens, self.channels = server, tokens, channels

    def ask(self, method, metadata, body=None, way="port", timeout=5.0):
        """Ask a method of any kind; the status, its words, and the first message."""
        if body is None:
            body = BODIES.get(method.rpartition("/")[2], b"")
        return ask_any(self.channels[way], method, body, metadata, timeout)

    def stub(self, way="port"):
        return rpc.GRPCInferenceServiceStub(self.channels[way])


@contextlib.contextmanager
def locked_server(repository, folder, transport, **settings):
    tokens = tokens_in(folder)
    asked = {"provider": "cpu", "transport": transport, "tokens": tokens.path, "private_sockets": folder}
    asked |= {"max_wrong_tokens": 1 << 30} | settings  # all tests here come from one address
    with Server(Settings(repository, grpc_port=0, **asked)) as server:
        until(server._repository.is_ready)  # on a slow machine models are loaded beside those that serve
        path = folder / f"{os.getpid()}.sock"
        with (
            grpc.insecure_channel(f"127.0.0.1:{server.port}") as port,
            grpc.insecure_channel(f"unix:{path}", [("grpc.default_authority", "localhost")]) as private,
        ):
            yield Locked(server, tokens, {"port": port, "socket": private})


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


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_streams_of_a_revoked_token_end(repository, tmp_path, transport):
    with locked_server(repository, tmp_path, transport, closed_health=True) as locked:
        path = locked.tokens.path
        metadata = bearer(add_token(path, "brief", "infer"))
        until(lambda: locked.ask(f"{INFERENCE}ServerLive", metadata)[0] is grpc.StatusCode.OK)
        assert locked.ask(f"{INFERENCE}ServerLive", [])[0] is grpc.StatusCode.UNAUTHENTICATED
        over = threading.Event()

        def messages(body):
            yield body
            over.wait(20)

        stays = locked.channels["port"].stream_stream(f"{INFERENCE}ModelStreamInfer")(
            messages(BODIES["ModelStreamInfer"]), metadata=bearer(locked.tokens.infer)
        )
        next(stays)
        calls = {}
        for name, body in (
            (f"{INFERENCE}ModelStreamInfer", BODIES["ModelStreamInfer"]),
            ("/grpc.health.v1.Health/Watch", b""),
            ("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()),
            ("/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics", b""),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\x3a\x00"),  # list_services
        ):
            calls[name, body] = call = locked.channels["port"].stream_stream(name)(messages(body), metadata=metadata)
            next(call)
        revoke_token(path, "brief")
        for (name, _), call in calls.items():
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED, name
        assert stays.is_active()
        over.set()
        assert locked.ask(f"{INFERENCE}ModelInfer", metadata)[0] is grpc.StatusCode.UNAUTHENTICATED
        assert locked.ask(f"{INFERENCE}ModelInfer", bearer(locked.tokens.infer))[0] is grpc.StatusCode.OK


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_limits(repository, tmp_path, transport):
    with locked_server(repository, tmp_path, transport) as locked:
        stub = locked.stub()
        slow = add_limited(locked.tokens.path, "slow", "rate = 3.0")
        until(lambda: locked.ask(f"{INFERENCE}ServerMetadata", bearer(slow))[0] is grpc.StatusCode.OK)
        codes = []
        for _ in range(8):
            future = stub.ModelInfer.future(ASKED["ModelInfer"], metadata=bearer(slow))
            future.exception()
            codes.append(future.code())
        assert codes[0] is grpc.StatusCode.OK
        assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "rate = 3" in future.details()
        answers = list(stub.ModelStreamInfer(iter([ASKED["ModelInfer"]] * 6), metadata=bearer(slow)))
        assert "rate = 3" in answers[-1].error_message
        for _ in range(8):
            assert stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(locked.tokens.infer)).outputs
        time.sleep(1.1)
        assert stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(slow)).outputs

        write_whole(locked.tokens.path, locked.tokens.path.read_text().replace("rate = 3.0", "in_flight = 1"))
        until(lambda: _usage(locked, slow)._limits.in_flight == 1)
        for _ in range(20):  # each is counted until it is answered, and no longer
            assert stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(slow)).outputs
            until(lambda: _usage(locked, slow)._numbers.all_in_flight() == 0)
        with pytest.raises(grpc.RpcError):
            stub.ModelInfer(pb.ModelInferRequest(), metadata=bearer(slow))
        until(lambda: _usage(locked, slow)._numbers.all_in_flight() == 0)


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


def _usage(locked, token):
    return locked.server._transport._gate.grant_of(bearer(token)).usage


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


@pytest.mark.parametrize("way", ["port", "socket"])
@pytest.mark.parametrize("transport", ["lane", "public"])
def test_wrong_tokens_of_an_address_are_told_to_wait_and_valid_ones_go_on(repository, tmp_path, transport, way, caplog):
    methods = [f"{INFERENCE}{name}" for name in ("ModelInfer", "ModelStreamInfer", "ModelConfig")]
    with locked_server(repository, tmp_path, transport, max_wrong_tokens=4) as locked:
        tokens = locked.tokens
        here, there = ([("rnnserve-peer", f"ipv4:10.0.0.{host}:5")] if way == "socket" else [] for host in (1, 2))
        codes = [locked.ask(methods[number % 3], bearer(tokens.unknown) + here, way=way)[0].name for number in range(7)]
        assert codes == ["UNAUTHENTICATED"] * 4 + ["RESOURCE_EXHAUSTED"] * 3
        for method in methods:
            assert locked.ask(method, bearer(tokens.expired) + here, way=way)[0].name == "RESOURCE_EXHAUSTED"
            assert locked.ask(method, here, way=way)[0].name == "UNAUTHENTICATED"  # it brings none
            assert locked.ask(method, bearer(tokens.infer) + here, way=way)[0].name == "OK"
            if way == "socket":
                assert locked.ask(method, bearer(tokens.unknown) + there, way=way)[0].name == "UNAUTHENTICATED"
        with pytest.raises(grpc.RpcError) as refused:
            locked.stub(way).ModelConfig(ASKED["ModelConfig"], metadata=(*bearer(tokens.unknown), *here))
        assert 0.0 < seconds_told(refused.value) <= 2.0
        assert tokens.unknown not in refused.value.details() + caplog.text


def seconds_told(error):
    """What google's own library reads of when to try again."""
    info = error_details_pb2.RetryInfo()
    (detail,) = rpc_status.from_call(error).details
    assert detail.Unpack(info)
    return info.retry_delay.ToMilliseconds() / 1e3


@pytest.mark.parametrize("transport", ["lane", "public"])
@pytest.mark.parametrize(
    ("limit", "least", "most"), [("rate = 0.01", 50, 100), ("bytes_per_second = 1", 2, 1000), ("rate = 0.5", 0.001, 2)]
)
def test_a_limit_says_when_to_try_again(repository, tmp_path, transport, limit, least, most):
    with locked_server(repository, tmp_path, transport) as locked:
        token = add_limited(locked.tokens.path, "slow", limit)
        until(lambda: locked.ask(f"{INFERENCE}ServerMetadata", bearer(token))[0] is grpc.StatusCode.OK)
        stub = locked.stub()
        assert stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(token)).outputs
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(token))
        assert least <= seconds_told(refused.value) <= most
        with Client(f"127.0.0.1:{locked.server.port}", token=token) as client:
            with pytest.raises(ResourceExhausted) as raised:
                client.infer(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")})
            assert least <= raised.value.retry_after <= most


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_cancelled_requests_are_in_flight_no_more(repository, tmp_path, transport):
    with locked_server(repository, tmp_path, transport) as locked:
        token = add_limited(locked.tokens.path, "one", "in_flight = 2")
        until(lambda: locked.ask(f"{INFERENCE}ServerMetadata", bearer(token))[2])
        large = request(SIMPLE, {"input": np.zeros((500, 200, 2), "f4")})
        for _ in range(10):
            calls = [locked.stub().ModelInfer.future(large, metadata=bearer(token)) for _ in range(3)]
            streams = [locked.stub().ModelStreamInfer(iter([large] * 2), metadata=bearer(token)) for _ in range(2)]
            for call in (*calls, *streams):
                call.cancel()
        until(lambda: _usage(locked, token)._numbers.all_in_flight() == 0)
        assert locked.stub().ModelInfer(ASKED["ModelInfer"], metadata=bearer(token)).outputs


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_another_token_of_the_same_host_takes_no_sequence_over(repository, tmp_path, transport):
    with locked_server(repository, tmp_path, transport) as locked:

        def ask(token, *messages):
            """On a connection of their own, which is closed then."""
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"127.0.0.1:{locked.server.port}", options) as channel:
                stub = rpc.GRPCInferenceServiceStub(channel)
                return [stub.ModelInfer(message, metadata=tuple(bearer(token))) for message in messages][-1]

        tokens, inputs = locked.tokens, walk(4)
        whole = raw(ask(tokens.infer, request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
        ask(tokens.infer, *[step(inputs[:, :2], identity, starts=True) for identity in (1001, 1002)])
        assert raw(eventually(lambda: ask(tokens.infer, step(inputs[:, 2:], 1001, ends=True)))) == whole
        with pytest.raises(grpc.RpcError) as refused:
            ask(tokens.admin, step(inputs[:, 2:], 1002))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert raw(ask(tokens.infer, step(inputs[:, 2:], 1002, ends=True))) == whole
