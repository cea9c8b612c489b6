"""The plain transport lets in and ends the same calls as the fast path."""

import functools
import threading

import grpc
import pytest

from kit.locked_servers import (
    BODIES,
    SIMPLE,
    certified_server,
    check_each_method,
    locked_server,
)
from kit.tokens import bearer
from kit.waiting import until
from rnnserve.protos import health_pb2
from rnnserve.protos.access_table import INFERENCE, ROLES
from rnnserve.server.access.access_file import add_token, revoke_token

INFER, WATCH = f"{INFERENCE}ModelInfer", "/grpc.health.v1.Health/Watch"
WATCHED = health_pb2.HealthCheckRequest(service=SIMPLE).SerializeToString()
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture(scope="module")
def locked(repository, tmp_path_factory):
    with locked_server(repository, tmp_path_factory.mktemp("l"), plain=True) as locked:
        yield locked


def test_each_method_answers_only_its_roles(locked, repository, tmp_path):
    tokens = locked.tokens._asdict() | {"none": ""}
    kinds = ("none", "unknown", "expired", "infer", "metrics", "admin")
    for way in ("port", "socket"):
        ask = {kind: functools.partial(locked.ask, metadata=bearer(tokens[kind]), way=way) for kind in kinds}
        check_each_method(ask, SIMPLE)
    with certified_server(repository, tmp_path, plain=True) as certified:
        for ask in (certified.ask, certified.ask_as_front):
            check_each_method({kind: functools.partial(ask, kind=kind) for kind in (*ROLES, "stranger")}, SIMPLE)


def test_revoked_token_ends_its_streams_and_watches(repository, tmp_path):
    with locked_server(repository, tmp_path) as locked:
        metadata = bearer(add_token(locked.tokens.path, "brief", "infer"))
        until(lambda: locked.ask(INFER, metadata)[0] is grpc.StatusCode.OK)
        over = threading.Event()

        def messages(body):
            yield body
            over.wait(20)

        calls = []
        for method, body in ((f"{INFERENCE}ModelStreamInfer", BODIES["ModelInfer"]), (WATCH, WATCHED)):
            calls.append(locked.channels["port"].stream_stream(method)(messages(body), metadata=metadata))
            next(calls[-1])
        revoke_token(locked.tokens.path, "brief")
        for call in calls:
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            assert ended.value.code() is UNAUTHENTICATED
        over.set()
        assert locked.ask(INFER, metadata)[0] is UNAUTHENTICATED
