"""The gate as the lane asks it, once a call."""

import pytest

from kit.tokens import add_limited, bearer, tokens_in
from rnnserve.protos.access_table import INFERENCE, Need
from rnnserve.server.access.access_file import Limits
from rnnserve.server.access.gate import Gate
from rnnserve.server.access.refusals import PermissionDenied, TokenLimitReached, Unauthenticated
from rnnserve.server.access.token_writing import revoke_token
from rnnserve.server.fast_path import arrivals
from rnnserve.server.fast_path.arrived import Arrivals
from rnnserve.server.fast_path.calls import UnaryCall

INFER = f"{INFERENCE}ModelInfer"


@pytest.fixture
def tokens(tmp_path):
    return tokens_in(tmp_path)


@pytest.fixture
def gate(tokens):
    return Gate(tokens.path)


class FakeCall(UnaryCall):
    """A call of the lane that notes with what it was refused."""

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
    """Asks the lane to let a call in."""
    arrivals = Arrivals(INFER, None, gate)

    def ask(metadata):
        call = FakeCall()
        assert arrivals.lets_in(call, metadata) == (call.refused is None)
        return call

    return ask


def test_lane_counts_with_limits_and_without(gate, tokens):
    grant = gate.grant_with(Need.INFER, bearer(tokens.infer))
    for limits in (Limits(), Limits(in_flight=2), Limits()):
        grant.usage.limit(limits)
        calls = [FakeCall() for _ in range(3)]
        for call in calls[:2]:
            call.let_in(grant)
        if limits.is_any:
            with pytest.raises(TokenLimitReached):
                calls[2].let_in(grant)
        else:
            calls[2].let_in(grant)
        assert [call.usage is grant.usage for call in calls] == [limits.is_any, limits.is_any, False]
        for call in calls:
            if call.usage is not None:
                call.usage.end()
    assert (grant.usage.requests, grant.usage.limited) == (3 + 2 + 3, 1)


def test_lasting_token_is_found_at_once_until_the_file_changes(gate, tokens, let_in):
    metadata = [("user-agent", "x"), *bearer(tokens.infer)]
    before = gate.at_once
    assert [let_in(metadata).grant.holder for _ in range(3)] == ["infer"] * 3
    assert list(before) == [bearer(tokens.infer)[0][1]]
    assert let_in(metadata).grant.usage.requests == 4
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


def test_token_with_an_end_or_limits_is_looked_at_each_time(gate, tokens, let_in):
    mores = ("rate = 1000.0", "in_flight = 5", "not_after = 2100-01-01T00:00:00Z")
    added = [add_limited(tokens.path, f"some{number}", more) for number, more in enumerate(mores)]
    assert gate.look(10.0)
    for number, token in enumerate(added):
        assert [let_in(bearer(token)).grant.holder for _ in range(2)] == [f"some{number}"] * 2
    assert gate.at_once == {}


def test_number_of_headers_found_at_once_is_bounded(gate, tokens, let_in, monkeypatch):
    monkeypatch.setattr(arrivals, "_MOST_AT_ONCE", 3)
    for scheme in ("Bearer ", "bearer ", "BEARER ", "BeareR ", "bEarer "):
        assert let_in([("authorization", scheme + tokens.infer)]).grant.holder == "infer"
        assert 0 < len(gate.at_once) <= 3
    assert len(gate.at_once) == 2
