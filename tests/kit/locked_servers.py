"""Servers in the test's process that ask for tokens or certificates, and calls of any method of them, by its name."""

import contextlib
import os
import re
import threading

import grpc
import numpy as np
import pytest

from kit.certificates import ClientAuthority, role_row, write_certificates
from kit.inference_requests import request
from kit.served import served
from kit.tokens import bearer, tokens_in
from kit.waiting import until
from rnnserve.protos import front_pb2, health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.access_table import INFERENCE, METHODS, ROLES, Need
from rnnserve.protos.protocol_words import CERTIFICATE, FRONT_EXCHANGE, PEER
from rnnserve.server.access.access_file import add_token, revoke_token

DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def check_each_method(callers, model):
    """Check which callers each method answers, and that no refusal tells of a model.

    Args:
        callers: By kind, a function of a method that gives a status and its words; kinds that are no role are nobody's.
        model: Name of the model.
    """
    for method, need in METHODS.items():
        if method == FRONT_EXCHANGE:
            continue
        words = set()
        for kind, ask in callers.items():
            code, said, _ = ask(method)
            if need is Need.HEALTH or kind in need.value:
                assert code not in DENIED, (method, kind, code, said)
                continue
            expected = "PERMISSION_DENIED" if kind in ROLES else "UNAUTHENTICATED"
            assert (code.name, model in said) == (expected, False), (method, kind, code, said)
            if kind not in ROLES:
                words.add(said)
        assert len(words) <= 1, (method, words)


def statuses_before_a_message(channel, methods):
    """The statuses with which calls of these methods end, none of which sends anything. An answer fails the test."""
    never, statuses = threading.Event(), set()

    def messages():
        never.wait(20)
        yield b""

    try:
        for method in methods:
            call = channel.stream_stream(method)(messages(), timeout=10)
            try:
                raise AssertionError(f"{method} answers {next(call)!r}")
            except grpc.RpcError as refused:
                statuses.add(refused.code())
    finally:
        never.set()
    return statuses


def ask_any(channel, method, metadata=(), body=None, timeout=5.0):
    """Ask a method of any kind. The status, its words, and the first message, None where there is none."""
    body = BODIES.get(method.rpartition("/")[2], b"") if body is None else body
    calls = channel.stream_stream(method)(iter([body]), metadata=metadata, timeout=timeout)
    try:
        first = next(iter(calls), None)
        if first is not None:
            calls.cancel()
            return grpc.StatusCode.OK, "", first
        return calls.code(), calls.details(), None
    except grpc.RpcError as error:
        return error.code(), error.details(), None


def check_revocation(locked, stream_code=grpc.StatusCode.UNAUTHENTICATED):
    """Check that a token that is revoked ends its calls, its inference stream with this code, and no other's."""
    infer = f"{INFERENCE}ModelInfer"
    brief, other = bearer(add_token(locked.tokens.path, "brief", "infer")), bearer(locked.tokens.infer)
    until(lambda: locked.ask(infer, brief)[0] is grpc.StatusCode.OK)
    with lasting_calls() as open_all:
        stays, ending = open_all(locked.channels["port"], other)[0], open_all(locked.channels["port"], brief)
        revoke_token(locked.tokens.path, "brief")
        for call, code in zip(ending[:2], (stream_code, grpc.StatusCode.UNAUTHENTICATED), strict=True):
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            assert ended.value.code() is code  # reflection ends with its next message
        assert stays.is_active()
    assert locked.ask(infer, brief)[0] is grpc.StatusCode.UNAUTHENTICATED
    assert locked.ask(infer, other)[0] is grpc.StatusCode.OK


def front_statuses(channel, headers, body):
    """The statuses of requests with these headers each, in their order, which a front sends in one message."""
    message, over, found = front_pb2.FrontRequests(), threading.Event(), {}
    for number, each in enumerate(headers):
        entry = message.entries.add(number=number, request=body, timeout=10.0, peer="ipv4:10.0.0.1:5")
        entry.headers.update(each)

    def messages():
        yield message.SerializeToString()
        over.wait(20)

    for said in channel.stream_stream(FRONT_EXCHANGE)(messages(), timeout=10):
        found |= {entry.number: entry.status for entry in front_pb2.FrontAnswers.FromString(said).entries}
        if len(found) == len(headers):
            over.set()
    return [found[number] for number in range(len(headers))]


SIMPLE = "direction_simple"
ASKED = {
    "ModelInfer": request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")}),
    "ModelStreamInfer": request(SIMPLE, {"input": np.zeros((1, 3, 2), "f4")}),
    "ModelReady": pb.ModelReadyRequest(name=SIMPLE),
    "ModelMetadata": pb.ModelMetadataRequest(name=SIMPLE),
    "ModelConfig": pb.ModelConfigRequest(name=SIMPLE),
    "ModelStatistics": pb.ModelStatisticsRequest(name=SIMPLE),
}
BODIES = {name: message.SerializeToString() for name, message in ASKED.items()}


@contextlib.contextmanager
def lasting_calls():
    """Opens, of each kind that lasts, a call that has had its first answer; the first of them is for inference."""
    over = threading.Event()
    watched = health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()
    bodies = {
        f"{INFERENCE}ModelStreamInfer": BODIES["ModelStreamInfer"],
        "/grpc.health.v1.Health/Watch": watched,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": b"\x3a\x00",  # list_services
    }

    def messages(body):
        yield body
        over.wait(20)

    def open_all(channel, metadata):
        calls = [channel.stream_stream(name)(messages(body), metadata=metadata) for name, body in bodies.items()]
        for call in calls:
            next(call)
        return calls

    yield open_all
    over.set()


class Locked:
    """A server, the channels to it, and the tokens of its file."""

    def __init__(self, server, tokens, channels):
        self.server, self.tokens, self.channels = server, tokens, channels

    def ask(self, method, metadata, body=None, way="port", timeout=5.0):
        """Ask a method of any kind. The status, its words, and the first message."""
        return ask_any(self.channels[way], method, metadata, body, timeout)

    def stub(self):
        return rpc.GRPCInferenceServiceStub(self.channels["port"])


@contextlib.contextmanager
def locked_server(repository, folder, **settings):
    tokens = tokens_in(folder)
    asked = {"tokens": tokens.path, "private_sockets": folder} | settings
    with served(repository, **asked) as running:
        until(running.server._repository.is_ready)  # on a slow machine models are loaded beside those that serve
        path = folder / f"{os.getpid()}.sock"
        with (
            running.channel() as port,
            grpc.insecure_channel(f"unix:{path}", [("grpc.default_authority", "localhost")]) as private,
        ):
            yield Locked(running.server, tokens, {"port": port, "socket": private})


class Certified:
    """A server, its file of roles, a channel for each kind of client, and one of its front."""

    def __init__(self, server, roles, socket, identities, server_ca):
        self.server, self.roles, self.socket, self.identities = server, roles, socket, identities
        self._server_ca = server_ca
        self.channels = {kind: self._open(identity) for kind, identity in identities.items()}

    def _open(self, identity):
        credentials = grpc.ssl_channel_credentials(self._server_ca, identity.key, identity.certificate)
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(f"localhost:{self.server.port}", credentials, options)

    def told(self, kind):
        """What a front says of a client of its own."""
        text = re.sub(r"-----[^-]+-----|\s", "", self.identities[kind].certificate.decode())
        return [(CERTIFICATE, text), (PEER, "ipv4:10.0.0.1:5")]

    def ask(self, method, kind, metadata=()):
        """Ask any method over the port, as a client."""
        return ask_any(self.channels[kind], method, metadata)

    def ask_as_front(self, method, kind=None):
        """Ask any method over the socket, for a client, or for one without a certificate."""
        return ask_any(self.socket, method, [] if kind is None else self.told(kind))


@contextlib.contextmanager
def certified_server(repository, folder, *, plain=False):
    authority, files = ClientAuthority(), write_certificates(folder)
    clients = folder / "clients.pem"
    clients.write_bytes(authority.pem)
    roles = folder / "roles.toml"
    roles.write_text(
        "".join(role_row(kind, f"CN={kind},O=Example", kind) for kind in ROLES)
        + role_row("elsewhere", "uri:spiffe://example.org/elsewhere", "infer", 'models = ["another_model"]')
        + role_row("named", "dns:named.example.org", "infer")
    )
    identities = {kind: authority.issue(f"CN={kind},O=Example") for kind in (*ROLES, "stranger")}
    identities["elsewhere"] = authority.issue("CN=x", ["spiffe://example.org/elsewhere"])
    identities["named"] = authority.issue("CN=x", [], ["named.example.org"])
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server), "tls_client_ca": clients}
    more = {"client_roles": roles, "private_sockets": folder}
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(served(repository, host="localhost", plain=plain, **tls, **more))
        server = running.server
        until(server._repository.is_ready)
        options = [("grpc.default_authority", "localhost")]
        socket = stack.enter_context(grpc.insecure_channel(f"unix:{folder / f'{os.getpid()}.sock'}", options))
        certified = Certified(server, roles, socket, identities, files.ca.read_bytes())
        for channel in certified.channels.values():
            stack.enter_context(channel)
        yield certified
