"""What a server does with tokens while it serves: revoked ones, limits, wrong ones, and sequences of others."""

import threading
import time

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kit.inference_requests import request
from kit.locked_servers import ASKED, BODIES, SIMPLE, locked_server
from kit.sequence_requests import eventually, raw, step, walk
from kit.tokens import add_limited, bearer, write_whole
from kit.waiting import until
from rnnserve.client import Client, ResourceExhausted
from rnnserve.protos import health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.access_table import INFERENCE
from rnnserve.server.access.token_writing import add_token, revoke_token


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
        until(lambda: locked.usage(slow)._limits.in_flight == 1)
        for _ in range(20):  # each is counted until it is answered, and no longer
            assert stub.ModelInfer(ASKED["ModelInfer"], metadata=bearer(slow)).outputs
            until(lambda: locked.usage(slow)._numbers.all_in_flight() == 0)
        with pytest.raises(grpc.RpcError):
            stub.ModelInfer(pb.ModelInferRequest(), metadata=bearer(slow))
        until(lambda: locked.usage(slow)._numbers.all_in_flight() == 0)


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
        until(lambda: locked.usage(token)._numbers.all_in_flight() == 0)
        # A cancelled call may arrive later still, and be in flight for a moment.
        assert eventually(lambda: locked.stub().ModelInfer(ASKED["ModelInfer"], metadata=bearer(token))).outputs


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
