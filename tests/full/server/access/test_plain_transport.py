"""The plain transport lets in the same calls as the fast path."""

import functools

import grpc
import pytest

from kit.locked_servers import (
    SIMPLE,
    certified_server,
    check_each_method,
    check_revocation,
    locked_server,
)
from kit.tokens import bearer
from rnnserve.protos.access_table import ROLES


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


def test_streams_of_a_revoked_token_end(locked):
    check_revocation(locked, grpc.StatusCode.CANCELLED)
