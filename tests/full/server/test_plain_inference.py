"""The plain transport answers the same requests, sequences and sessions as the fast path."""

import time
from typing import Any

import grpc
import numpy as np
import pytest

from kit.inference_requests import arrays, request
from kit.sequence_requests import SIMPLE, answers_of, in_parts, raw, refusal, step, stream_of, walk
from kit.served import served

OUTPUTS = ["logits", "h_n"]


@pytest.fixture(scope="module")
def stubs(repository, session_key):
    """A server on the plain transport, and one on the fast path."""
    key = {"session_key": session_key}
    with served(repository, plain=True, **key) as plain, served(repository, **key) as fast:
        yield plain.stub, fast.stub


@pytest.mark.parametrize("cut", [[12], [1] * 12, [5, 7], [2, 3, 1, 6]])
def test_sequences_and_sessions_have_the_bits_of_the_whole(stubs, cut):
    plain_stub, fast = stubs
    inputs = walk(12)
    whole = raw(fast.ModelInfer(request(SIMPLE, {"input": inputs}, OUTPUTS)))
    assert raw(answers_of(plain_stub, in_parts(inputs, cut, 7))[-1].infer_response) == whole
    assert raw([plain_stub.ModelInfer(part) for part in in_parts(inputs, cut, "seven")][-1]) == whole
    token, at = "sealed", 0
    for number, steps in enumerate(cut):
        asked = request(SIMPLE, {"input": np.ascontiguousarray(inputs[:, at : at + steps])}, ["logits"])
        asked.parameters["session"].string_param = token
        answer = stubs[number % 2].ModelInfer(asked)
        token, at = answer.parameters["session"].string_param, at + steps
    assert arrays(answer)["logits"].tobytes() == whole[0]


@pytest.mark.parametrize("plain", [False, True])
def test_sequences_are_dropped_when_idle_and_bounded_in_number_and_bytes(repository, plain):
    with served(repository, plain=plain, sequence_idle=0.2) as server:
        server.stub.ModelInfer(step(walk(1), 71, starts=True))
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError, match=r"after 0\.2 s without a request it is dropped"):
            server.stub.ModelInfer(step(walk(1), 71))
        server.stub.ModelInfer(step(walk(1), 71, starts=True))
    bounds: list[tuple[dict[str, Any], int, str]] = [
        ({"max_sequences": 8}, 2, "a quarter of them of one connection (--max-sequences)"),
        ({"max_sequence_bytes": 4 * 64 * 3}, 3, "16 KiB for each of --max-sequences"),
    ]
    for bound, count, words in bounds:
        with served(repository, plain=plain, **bound) as server, stream_of(server.stub) as stream:
            answers = [stream.ask(step(walk(1), identity, starts=True)) for identity in range(1, count + 2)]
            assert [answer.error_message for answer in answers[:-1]] == [""] * count
            assert refusal(answers[-1]) == "RESOURCE_EXHAUSTED"
            assert words in answers[-1].error_message
            stream.ask(step(walk(1), 1, ends=True))
            assert not stream.ask(step(walk(1), count + 1, starts=True)).error_message
