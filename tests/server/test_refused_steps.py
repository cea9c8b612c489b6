"""A step whose answer is more than may be held is refused, and leaves its sequence as it was."""

import grpc
import pytest

from kit.sequence_requests import Stream, raw, refusal, step, walk
from kit.served_here import asking
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.errors import TooMuchHeld

PARTS = [walk(3, seed=1), walk(4, seed=2)]
TOO_MUCH = walk(4000, seed=3)
"""Steps whose output has 4,000 x 16 x 4 bytes."""


@pytest.fixture(params=["lane", "public"])
def stub(repository, request, monkeypatch):
    """A server in which others hold so much that there is no room for an answer of 256,000 bytes."""
    take = ByteBudget.take

    def take_little(budget, connection, size):
        if size > 250_000:
            raise TooMuchHeld.by_all(size, 0)
        take(budget, connection, size)

    monkeypatch.setattr(ByteBudget, "take", take_little)
    with asking(repository, transport=request.param) as stub:
        yield stub


def large(identity):
    return step(TOO_MUCH, identity, outputs=["output", "h_n"])


def test_by_calls(stub):
    whole = [raw(stub.ModelInfer(step(part, 1, starts=not at))) for at, part in enumerate(PARTS)]
    assert raw(stub.ModelInfer(step(PARTS[0], 2, starts=True))) == whole[0]
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(large(2))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value.details()
    assert raw(stub.ModelInfer(step(PARTS[1], 2))) == whole[1]


def test_on_a_stream(stub):
    whole = [raw(stub.ModelInfer(step(part, 3, starts=not at))) for at, part in enumerate(PARTS)]
    stream = Stream(stub)
    assert raw(stream.ask(step(PARTS[0], 4, starts=True)).infer_response) == whole[0]
    for _ in range(3):
        assert refusal(stream.ask(large(4))) == "RESOURCE_EXHAUSTED"
    assert raw(stream.ask(step(PARTS[1], 4)).infer_response) == whole[1]
    stream.end()
