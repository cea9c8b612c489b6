"""A server that knows its callers by their certificates: every method, on both transports, and its front's socket."""

import contextlib
import os
import re
import threading

import grpc
import numpy as np
import pytest

from kit.any_method import ask_any, statuses_before_a_message
from kit.certificates import write_certificates
from kit.client_certificates import ClientAuthority, role_row
from kit.inference_requests import request
from kit.tokens import bearer, tokens_in, write_whole
from kit.waiting import until
from rnnserve.protos import front_pb2, health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.access_table import INFERENCE, METHODS, Need
from rnnserve.protos.protocol_words import CERTIFICATE, FRONT_EXCHANGE, PEER, TOKENS
from rnnserve.server import Server, Settings

SIMPLE = "direction_simple"
ASKED = request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")})
LARGE = request(SIMPLE, {"input": np.zeros((200, 50, 2), "f4")})
DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
KINDS = ("infer", "admin", "metrics")


class Certified:
    """A server, its file of roles, and a channel for each kind of client."""

    def __init__(self, server, roles, socket, identities, server_ca):
        self.server, self.roles, self.socket, self.identities = server, roles, socket, identities
        self._server_ca = server_ca
        self.channels = {kind: self.open(kind) for kind in identities}

    def open(self, kind):
        identity = self.identities[kind]
        credentials = grpc.ssl_channel_credentials(self._server_ca, identity.key, identity.certificate)
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(f"localhost:{self.server.port}", credentials, options)


@contextlib.contextmanager
def certified_server(repository, folder, transport):
    authority, files = ClientAuthority(), write_certificates(folder)
    clients = folder / "clients.pem"
    clients.write_bytes(authority.pem)
    roles = folder / "roles.toml"
    roles.write_text(
        "".join(role_row(kind, f"CN={kind},O=Example", kind) for kind in KINDS)
        + role_row("elsewhere", "uri:spiffe://example.org/elsewhere", "infer", 'models = ["another_model"]')
        + role_row("limited", "dns:limited.example.org", "infer", "in_flight = 1", "rate = 0.001")
    )
    identities = {kind: authority.issue(f"CN={kind},O=Example") for kind in KINDS}
    identities["elsewhere"] = authority.issue("CN=x", ["spiffe://example.org/elsewhere"])
    identities["limited"] = authority.issue("CN=x", [], ["limited.example.org"])
    identities["stranger"] = authority.issue("CN=stranger,O=Example")
    settings = Settings(
        repository, "localhost", 0, "cpu", transport, tls_certificate=files.server, tls_key=files.key(files.server),
        tls_client_ca=clients, client_roles=roles, private_sockets=folder, max_wrong_tokens=1 << 30,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(settings))
        until(server._repository.is_ready)
        options = [("grpc.default_authority", "localhost")]
        socket = stack.enter_context(grpc.insecure_channel(f"unix:{folder / f'{os.getpid()}.sock'}", options))
        certified = Certified(server, roles, socket, identities, files.ca.read_bytes())
        for channel in certified.channels.values():
            stack.enter_context(channel)
        yield certified


@pytest.fixture(scope="module", params=["lane", "public"])
def certified(repository, request, tmp_path_factory):
    with certified_server(repository, tmp_path_factory.mktemp("c"), request.param) as certified:
        yield certified


def body_of(method):
    name = method.rpartition("/")[2]
    if name in ("ModelInfer", "ModelStreamInfer"):
        return ASKED.SerializeToString()
    asked = {
        "ModelReady": pb.ModelReadyRequest,
        "ModelMetadata": pb.ModelMetadataRequest,
        "ModelConfig": pb.ModelConfigRequest,
    }
    return asked[name](name=SIMPLE).SerializeToString() if name in asked else b""


def told(identity):
    """What a front says of a client of its own."""
    text = re.sub(r"-----[^-]+-----|\s", "", identity.certificate.decode())
    return [(CERTIFICATE, text), (PEER, "ipv4:10.0.0.1:5")]


@pytest.mark.parametrize("way", ["port", "socket"])
@pytest.mark.parametrize("method", [name for name in METHODS if name != FRONT_EXCHANGE])
def test_no_method_answers_who_may_not(certified, method, way):
    need, body = METHODS[method], body_of(method)
    for kind in (*KINDS, "stranger"):
        if way == "port":
            code, said, _ = ask_any(certified.channels[kind], method, body)
        else:
            code, said, _ = ask_any(certified.socket, method, body, told(certified.identities[kind]))
        if need is Need.HEALTH or (kind in need.value):
            assert code not in DENIED, (method, kind, code, said)
        else:
            expected = "UNAUTHENTICATED" if kind == "stranger" else "PERMISSION_DENIED"
            assert code.name == expected, (method, kind, code, said)
            assert SIMPLE not in said
    if way == "socket" and need is not Need.HEALTH:
        assert ask_any(certified.socket, method, body)[0] is grpc.StatusCode.UNAUTHENTICATED


def test_what_a_client_says_of_a_certificate_means_nothing_on_the_port(certified):
    for method in (f"{INFERENCE}ModelInfer", f"{INFERENCE}ModelStreamInfer", f"{INFERENCE}ModelConfig"):
        metadata = told(certified.identities["admin"])
        code, _, _ = ask_any(certified.channels["stranger"], method, body_of(method), metadata)
        assert code is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_means_nothing(certified, tmp_path):
    metadata = bearer(tokens_in(tmp_path).admin)
    for kind, expected in (("stranger", grpc.StatusCode.UNAUTHENTICATED), ("infer", grpc.StatusCode.OK)):
        code, _, _ = ask_any(certified.channels[kind], f"{INFERENCE}ModelInfer", body_of("/ModelInfer"), metadata)
        assert code is expected


def test_refused_before_the_message_arrives(certified):
    methods = [f"{INFERENCE}{name}" for name in ("ModelInfer", "ModelStreamInfer", "RepositoryModelLoad")]
    assert statuses_before_a_message(certified.channels["stranger"], methods) == {grpc.StatusCode.UNAUTHENTICATED}


def test_models_of_a_certificate(certified):
    stub = rpc.GRPCInferenceServiceStub(certified.channels["elsewhere"])
    for asked in (ASKED, LARGE, ASKED):
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(asked)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        (answer,) = stub.ModelStreamInfer(iter([asked]))
        assert "another model" in answer.error_message
    assert not stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    service = health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()
    code, _, _ = ask_any(certified.channels["elsewhere"], "/grpc.health.v1.Health/Check", service)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    answered = rpc.GRPCInferenceServiceStub(certified.channels["infer"]).ModelInfer(LARGE)
    assert answered.model_name == SIMPLE
    said = rpc.GRPCInferenceServiceStub(certified.channels["infer"]).ServerMetadata(pb.ServerMetadataRequest())
    assert TOKENS in said.extensions


def test_limits_of_a_certificate(certified):
    stub = rpc.GRPCInferenceServiceStub(certified.channels["limited"])
    assert stub.ModelInfer(ASKED).outputs
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(ASKED)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_requests_of_a_front_go_by_the_certificates_of_its_clients(certified):
    if certified.server._settings.transport == "public":
        pytest.skip("the front's stream is the lane's")
    kinds = ["infer", "stranger", "metrics", "elsewhere", "", "admin"]
    message, over = front_pb2.FrontRequests(), threading.Event()
    for number, kind in enumerate(kinds, 1):
        entry = message.entries.add(
            number=number, request=ASKED.SerializeToString(), timeout=10, peer="ipv4:10.0.0.1:5"
        )
        if kind:
            entry.headers[CERTIFICATE] = dict(told(certified.identities[kind]))[CERTIFICATE]

    def messages():
        yield message.SerializeToString()
        over.wait(20)

    answers = {}
    for raw in certified.socket.stream_stream(FRONT_EXCHANGE)(messages(), timeout=10):
        answers |= {entry.number: entry.status for entry in front_pb2.FrontAnswers.FromString(raw).entries}
        if len(answers) == len(kinds):
            over.set()
    unauthenticated, denied = (code.value[0] for code in DENIED)
    assert [answers[number] for number in range(1, 7)] == [0, unauthenticated, denied, denied, unauthenticated, 0]


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_streams_of_a_row_that_is_taken_out_end(repository, tmp_path, transport):
    with certified_server(repository, tmp_path, transport) as certified:
        over = threading.Event()

        def messages(body):
            yield body
            over.wait(20)

        def begin(kind, method, body):
            call = certified.channels[kind].stream_stream(method)(messages(body))
            next(call)
            return call

        stays = begin("admin", f"{INFERENCE}ModelStreamInfer", ASKED.SerializeToString())
        service = health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()
        calls = [
            begin("infer", f"{INFERENCE}ModelStreamInfer", ASKED.SerializeToString()),
            begin("infer", "/grpc.health.v1.Health/Watch", service),
            begin("infer", "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics", b""),
        ]
        write_whole(certified.roles, role_row("admin", "CN=admin,O=Example", "admin"))
        for call in calls:
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert stays.is_active()
        over.set()
        code, _, _ = ask_any(certified.channels["infer"], f"{INFERENCE}ModelInfer", body_of("/ModelInfer"))
        assert code is grpc.StatusCode.UNAUTHENTICATED
