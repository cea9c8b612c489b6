"""The gate as the fast path asks it, once a call."""

import datetime as dt

import pytest

from kit.tokens import bearer, tokens_in
from rnnserve.protos.access_table import Need
from rnnserve.server.access.gate import Gate
from rnnserve.server.access.token_writing import add_token, revoke_token
from rnnserve.server.errors import PermissionDenied, Unauthenticated
from rnnserve.server.fast_path import calls
from rnnserve.server.fast_path.calls import Arrivals, UnaryCall


@pytest.fixture
def tokens(tmp_path):
    return tokens_in(tmp_path)


@pytest.fixture
def gate(tokens):
    return Gate(tokens.path)


class FakeCall(UnaryCall):
    """A call of the fast path that notes with what it was refused."""

    def __init__(self):
        super().__init__(None, None, 0.0)
        self.refused = None

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def certificate(self):
        return ""

    def refuse(self, error):
        self.refused = error


@pytest.fixture
def let_in(gate):
    """Asks the fast path to let a call in."""
    arrivals = Arrivals(Need.INFER, None, gate)

    def ask(metadata):
        call = FakeCall()
        assert arrivals.lets_in(call, metadata) == (call.refused is None)
        return call

    return ask


def test_lasting_token_is_found_at_once_until_the_file_changes(gate, tokens, let_in):
    metadata = [("user-agent", "x"), *bearer(tokens.infer)]
    before = gate.at_once
    assert [let_in(metadata).grant.holder for _ in range(3)] == ["infer"] * 3
    assert list(before) == [bearer(tokens.infer)[0][1]]
    assert let_in(metadata).grant.requests == 4
    twice = [*metadata, *bearer(tokens.infer)]
    for wrong in (twice, [], bearer(tokens.unknown), bearer(tokens.expired)):
        assert type(let_in(wrong).refused) is Unauthenticated
    assert type(let_in(bearer(tokens.metrics)).refused) is PermissionDenied
    assert len(gate.at_once) == 1
    revoke_token(tokens.path, "infer")
    assert gate.look(10.0)
    before["Bearer late"] = None  # a lookup that began before the change adds to the former table
    assert gate.at_once == {}
    assert type(let_in(metadata).refused) is Unauthenticated


def test_token_with_an_end_is_looked_at_each_time(gate, tokens, let_in):
    token = add_token(tokens.path, "some", "infer", None, dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
    assert gate.look(10.0)
    assert [let_in(bearer(token)).grant.requests for _ in range(2)] == [1, 2]
    assert gate.at_once == {}


def test_number_of_headers_found_at_once_is_bounded(gate, tokens, let_in, monkeypatch):
    monkeypatch.setattr(calls, "_MOST_AT_ONCE", 3)
    for scheme in ("Bearer ", "bearer ", "BEARER ", "BeareR ", "bEarer "):
        assert let_in([("authorization", scheme + tokens.infer)]).grant.holder == "infer"
        assert 0 < len(gate.at_once) <= 3
    assert len(gate.at_once) == 2
